"""Greedy generation in batches, the beginning that all prompts share computed once."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["greedy_ids"]

_SHARED_MIN = 8
"""A shorter beginning is not worth a pass of its own."""


@torch.no_grad()
def greedy_ids(
    model: Any,  # noqa: ANN401  (a transformers causal language model)
    rows: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    batch: int,
    pad_id: int,
    end_ids: Collection[int],
) -> tuple[list[int], ...]:
    """Go on greedily from rows of token ids.

    A chat template's system prompt opens every prompt alike: its keys and values are computed once and laid under each
    batch, which saves two thirds of the work on short prompts.

    Args:
        model: On any device.
        rows: Token ids up to where an answer begins; none is empty.
        max_tokens: New tokens at most.
        batch: Rows in one forward pass, sorted by length.
        pad_id: Fills rows up on the left; never looked at.
        end_ids: Tokens that end an answer.

    Returns:
        New token ids in the order of the rows; the last one ends the answer where that was reached.
    """
    answers: list[list[int]] = [[] for _ in rows]
    begun, shared = _begun(model, rows, max_tokens)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        cache = copy.deepcopy(begun)
        if cache is not None:
            cache.batch_repeat_interleave(len(chosen))
        said = _decode(
            model, [rows[i][shared:] for i in chosen], (cache, shared), max_tokens, pad_id=pad_id, end_ids=end_ids
        )
        for i, tokens in zip(chosen, said, strict=True):
            ends = (at for at, token in enumerate(tokens) if token in end_ids)
            answers[i] = tokens[: next(ends, len(tokens)) + 1]
    return tuple(answers)


def _decode(
    model: Any,  # noqa: ANN401
    rows: Sequence[Sequence[int]],
    begun: tuple[Any, int],
    max_tokens: int,
    *,
    pad_id: int,
    end_ids: Collection[int],
) -> list[list[int]]:
    cache, shared = begun
    device, width = model.device, max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(r)) + list(r) for r in rows], device=device)
    mask = torch.tensor([[1] * shared + [0] * (width - len(r)) + [1] * len(r) for r in rows], device=device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, shared:]
    ends = torch.tensor(sorted(end_ids), device=device)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
    said: list[Tensor] = []
    for left in range(max_tokens, 0, -1):
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        token = out.logits[:, -1].argmax(-1)  # (rows,)
        said.append(token)
        ended |= torch.isin(token, ends)
        if left == 1 or bool(ended.all()):
            break
        cache, ids, positions = out.past_key_values, token[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    found: list[list[int]] = torch.stack(said, dim=1).tolist()
    return found


def _begun(model: Any, rows: Sequence[Sequence[int]], max_tokens: int) -> tuple[Any, int]:  # noqa: ANN401
    """Return keys and values of what all rows begin with, one row of them, and its length; nothing where it is short.

    A window of attention counts places, padding among them: where one could be left, nothing is shared. Nor is a state
    that is no keys and values, as recurrent layers have.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    shared = _shared(rows)
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    longest = max(map(len, rows), default=0) + max_tokens
    if len(rows) < 2 or shared < _SHARED_MIN or (window is not None and longest >= window):
        return None, 0
    out = model(input_ids=torch.tensor([rows[0][:shared]], device=model.device), use_cache=True, logits_to_keep=1)
    cache = out.past_key_values
    if not isinstance(cache, DynamicCache) or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return None, 0
    return cache, shared


def _shared(rows: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all rows begin with, leaving each row one of its own."""
    if not rows:
        return 0
    least, greatest = min(map(list, rows)), max(map(list, rows))
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if least[i] != greatest[i]), most)
