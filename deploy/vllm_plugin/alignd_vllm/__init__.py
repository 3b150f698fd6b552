"""Endpoint plugin for vLLM: LoRA releases behind the public model name."""
