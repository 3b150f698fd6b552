"""Serving a release with vLLM on one host."""
