"""The low-rank safety patch: capture, factor, step, adapter."""
