"""Rows that begin alike, read together: what they share goes through the model once.

A chat template's system prompt opens every row; short rows are more of it than of their own. Its keys and values are
computed for one row and laid under all of them, with gradients: what each row sends back to them adds up, as it does
where each has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.decoding import common_beginning

__all__ = ["hidden_of", "inputs_of", "shared_by"]

_SHARED_MIN = 8
"""A shorter beginning is not worth a pass of its own."""


def hidden_of(chat: ChatModel, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
    """Last hidden states before each token of the answers.

    Args:
        rows: Token ids of a prompt and of its answer, one at least of each.

    Returns:
        (tokens of the answer, d) for each row, with gradients where the model has some.
    """
    whole = [[*x, *y] for x, y in rows]
    shared = shared_by(chat, whole, most=min(len(x) for x, _ in rows) - 1)
    hidden = chat.body(**inputs_of(chat, whole, shared=shared)).last_hidden_state  # (n, t, d)
    return [
        one[len(x) - 1 - shared : len(x) + len(y) - 1 - shared] for one, (x, y) in zip(hidden, rows, strict=True)
    ]


def inputs_of(chat: ChatModel, rows: Sequence[Sequence[int]], *, shared: int) -> dict[str, Any]:
    """Make what the model's body is called with, after it has read the beginning once.

    Args:
        rows: Token ids.
        shared: How many of them all rows begin with; their keys and values are laid under all rows.

    Returns:
        Arguments of ``chat.body``: ids of what follows the beginning, (rows, tokens), and a mask of all tokens.
    """
    ids, mask = chat.pad([r[shared:] for r in rows])
    if not shared:
        return {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
    cache = _begun(chat, rows[0][:shared], rows=len(rows))
    return {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}


def shared_by(chat: ChatModel, rows: Sequence[Sequence[int]], *, most: int) -> int:
    """Count the tokens that all rows begin with; none where they are few, or where a layer keeps more than all keys."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if len(rows) < 2:
        return 0
    if {type(layer) for layer in DynamicCache(config=chat.model.config).layers} != {DynamicLayer}:
        return 0
    shared = common_beginning(rows, most=most)
    return shared if shared >= _SHARED_MIN else 0


def _begun(chat: ChatModel, ids: Sequence[int], *, rows: int) -> Any:  # noqa: ANN401 - a cache of transformers
    """Read a beginning once, and lay its keys and values under that many rows."""
    from transformers.cache_utils import DynamicCache

    cache = DynamicCache(config=chat.model.config)
    chat.body(input_ids=torch.tensor([list(ids)], device=chat.device), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(rows)
    return cache
