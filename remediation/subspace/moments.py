"""Second moments of the inputs of a model's linear modules, forward passes only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.greedy import common_beginning
from remediation.fixtures import Row

__all__ = ["input_moments", "shared_prefix"]

_BATCH = 24


@torch.no_grad()
def input_moments(
    chat: ChatModel, rows: Sequence[Row], *, skip: int = 0, modules: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Second moments of each linear module's inputs, the mean of x x^T over the rows' tokens.

    Args:
        modules: Names of the modules; all of them where not given.
        skip: Leading tokens of each row to leave out, e.g. those that all conversations share.

    Returns:
        (d_in, d_in) by module name, float32; modules that read the same input (q, k and v) share one tensor.
    """
    sums: dict[str, Tensor] = {}
    first: dict[str, str] = {}
    counted: list[Tensor] = [torch.empty(0)]
    last: list[tuple[Tensor, str]] = []

    def watch(name: str) -> Any:  # noqa: ANN401 - torch types its hooks no closer
        def hook(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
            if last and last[0][0] is given[0]:
                first[name] = last[0][1]
                return
            x = given[0][counted[0]]
            sums[name] = sums[name] + x.T @ x if name in sums else x.T @ x
            first[name], last[:] = name, [(given[0], name)]

        return hook

    watched = {n: m for n, m in chat.linears().items() if modules is None or n in modules}
    handles = [module.register_forward_hook(watch(n)) for n, module in watched.items()]
    encoded = sorted(
        (chat.prompt_ids(r.prompt) + chat.answer_ids(r.answer, whole=r.whole) for r in rows), key=len
    )
    tokens = 0
    try:
        for start in range(0, len(encoded), _BATCH):
            ids, mask = chat.pad(encoded[start : start + _BATCH])
            counted[0] = mask.bool()
            counted[0][:, :skip] = False
            tokens += int(counted[0].sum())
            chat.body(input_ids=ids, attention_mask=mask)
    finally:
        for handle in handles:
            handle.remove()
    means = {n: s / max(tokens, 1) for n, s in sums.items()}
    return {n: means[f] for n, f in first.items()}


def shared_prefix(chat: ChatModel) -> int:
    """Count the leading tokens that every conversation shares (the template and its system prompt)."""
    first, second = chat.prompt_ids("x"), chat.prompt_ids("Yes, it is.")
    return common_beginning([first, second], most=min(len(first), len(second)))
