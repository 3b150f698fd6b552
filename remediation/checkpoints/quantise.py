"""What int8 weights would leave of a model: a round trip, in place.

Symmetric, one scale for each output channel: s_i = max_j |W_ij| / 127, W_ij becomes s_i round(W_ij / s_i)
(Krishnamoorthi 2018, arXiv 1806.08342, section 2). Weights stay in their own dtype, so that this shows what the
rounding does, not how fast int8 kernels are. Embeddings, norms and the output head stay as they are, as in common
weight-only formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.output import require_finite
from remediation.checkpoints.restored import restored

__all__ = ["int8_round_trip", "quantised"]

_LEVELS = 127
"""From -127 to 127: symmetric, -128 unused."""


def int8_round_trip(weight: Tensor) -> Tensor:
    """Round a weight to int8 and back.

    Args:
        weight: (d_out, d_in), finite, any floating dtype.

    Returns:
        The same shape and dtype; off by at most half of the row's scale, beside the dtype's own rounding.
    """
    exact = weight.float()
    scale = exact.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / _LEVELS  # (d_out, 1)
    steps = (exact / scale).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
    return (steps * scale).to(weight.dtype)


@contextmanager
def quantised(chat: ChatModel) -> Iterator[ChatModel]:
    """Give the same model with its linear modules' weights after the round trip; its own weights come back at the end.

    Holds a second copy of all weights meanwhile.

    Raises:
        PatchFailed: A weight is not finite; nothing was changed.
    """
    require_finite(chat, "the model to quantise")
    with restored(chat):
        with torch.no_grad():
            for linear in chat.linears().values():
                linear.weight.copy_(int8_round_trip(linear.weight))
        yield chat
