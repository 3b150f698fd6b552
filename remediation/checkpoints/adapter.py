"""A low-rank change of a model's linear modules: in memory, on disk, and added to the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from remediation.checkpoints.chat import ChatModel

__all__ = ["Adapter", "add_to", "load_adapter", "save_adapter"]

Adapter = dict[str, tuple[Tensor, Tensor]]
"""Module name to (A, B): A (r, d_in), B (d_out, r); the change of the module's weight is B A."""


@torch.no_grad()
def add_to(chat: ChatModel, adapter: Adapter) -> None:
    """Add an adapter to the weights and round them to bfloat16, as they will be served."""
    linears = chat.linears()
    for name, (a, b) in adapter.items():
        linears[name].weight.add_(b.float() @ a.float())
    for parameter in chat.model.parameters():
        parameter.copy_(parameter.bfloat16().float())


def save_adapter(adapter: Adapter, file: Path) -> None:
    """Write an adapter as safetensors."""
    save_file({f"{n}.{k}": t.contiguous() for n, ab in adapter.items() for k, t in zip("ab", ab, strict=True)}, file)


def load_adapter(file: Path) -> Adapter:
    """Read what ``save_adapter`` wrote."""
    tensors = load_file(file)
    return {n.removesuffix(".a"): (tensors[n], tensors[n.removesuffix("a") + "b"]) for n in tensors if n.endswith(".a")}
