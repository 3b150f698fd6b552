"""A model that may be changed for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from remediation.checkpoints.chat import ChatModel

__all__ = ["restored"]


@contextmanager
def restored(chat: ChatModel) -> Iterator[ChatModel]:
    """Give the model all of its parameters back at the end. Holds a second copy of them meanwhile."""
    kept = [parameter.detach().clone() for parameter in chat.model.parameters()]
    try:
        yield chat
    finally:
        with torch.no_grad():
            for parameter, before in zip(chat.model.parameters(), kept, strict=True):
                parameter.copy_(before)
