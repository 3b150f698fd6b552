"""A model that may be changed for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from remediation.checkpoints.chat import ChatModel

__all__ = ["restored"]


@contextmanager
def restored(chat: ChatModel) -> Iterator[ChatModel]:
    """Give the model's linear modules their weights back at the end. Holds a second copy of them meanwhile."""
    linears = chat.linears()
    kept = {name: linear.weight.detach().clone() for name, linear in linears.items()}
    try:
        yield chat
    finally:
        with torch.no_grad():
            for name, linear in linears.items():
                linear.weight.copy_(kept[name])
