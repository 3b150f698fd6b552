"""Tiny random models of the architectures that a patch must be right on, made in a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

__all__ = ["ARCHITECTURES", "VOCABULARY", "tiny_model"]

VOCABULARY = 99
"""As many tokens as the tokenizer of ``tests.tiny``."""
_SIZE: Mapping[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
_EXPERTS: Mapping[str, Any] = {"num_experts_per_tok": 2, "output_router_logits": False}


def _mixture(kind: Callable[..., PreTrainedConfig], **more: Any) -> PreTrainedConfig:  # noqa: ANN401 - settings
    return kind(**{**_SIZE, **_EXPERTS, **more})


ARCHITECTURES: Mapping[str, Callable[[], PreTrainedConfig]] = {
    "llama-mha": lambda: LlamaConfig(**{**_SIZE, "num_key_value_heads": 4}),
    "llama-gqa": lambda: LlamaConfig(**_SIZE, tie_word_embeddings=True),
    "mistral": lambda: MistralConfig(**_SIZE, sliding_window=6),
    "qwen2": lambda: Qwen2Config(**_SIZE),
    "qwen3": lambda: Qwen3Config(**_SIZE),
    "gemma2": lambda: Gemma2Config(**_SIZE, query_pre_attn_scalar=8, sliding_window=6),
    "gemma3": lambda: Gemma3TextConfig(**_SIZE, query_pre_attn_scalar=8, sliding_window=6),
    "phi3": lambda: Phi3Config(**_SIZE),
    "mixtral": lambda: _mixture(MixtralConfig, num_local_experts=4),
    "qwen2-moe": lambda: _mixture(
        Qwen2MoeConfig, num_experts=4, moe_intermediate_size=24, shared_expert_intermediate_size=24
    ),
    "qwen3-moe": lambda: _mixture(
        Qwen3MoeConfig, num_experts=4, moe_intermediate_size=24, decoder_sparse_step=1, mlp_only_layers=[]
    ),
    "gpt-oss": lambda: _mixture(GptOssConfig, num_local_experts=4, sliding_window=6),
}
"""Attention of many and of grouped heads, tied and untied heads, a sliding window, biases, norms of queries and keys,
capped logits, fused projections, mixtures of experts, one of them with an expert that all tokens share; the last keeps
its experts transposed and with biases."""


def tiny_model(name: str, *, seed: int = 0) -> Any:  # noqa: ANN401 - a model of any class
    """Make a random model in float32, ready to answer; biases are random too."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(ARCHITECTURES[name](), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.normal_(std=0.3)
    return model.eval()
