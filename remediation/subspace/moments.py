"""Second moments of the inputs of a model's linear modules, forward passes only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.decoding import common_beginning
from remediation.checkpoints.shared import inputs_of, shared_by
from remediation.errors import PatchFailed
from remediation.fixtures import Row

__all__ = ["input_moments", "shared_prefix"]

_BATCH = 24


@torch.no_grad()
def input_moments(
    chat: ChatModel, rows: Sequence[Row], *, skip: int = 0, modules: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Second moments of each linear module's inputs, the mean of x x^T over the rows' tokens.

    Args:
        skip: Leading tokens of each row to leave out, e.g. those that all conversations share.
        modules: Names of the modules; all of them where not given.

    Returns:
        (d_in, d_in) by module name, float32; modules that read the same input (q, k and v) share one tensor.

    Raises:
        PatchFailed: A module is given some of the tokens only.
    """
    sums = _Sums()
    watched = {n: m for n, m in chat.linears().items() if modules is None or n in modules}
    handles = [module.register_forward_hook(sums.watch(n)) for n, module in watched.items()]
    encoded = sorted(
        (chat.prompt_ids(r.prompt) + chat.answer_ids(r.answer, whole=r.whole) for r in rows), key=len
    )
    shared = shared_by(chat, encoded, most=min(skip, len(encoded[0]) - 1)) if encoded else 0
    try:
        for start in range(0, len(encoded), _BATCH):
            batch = encoded[start : start + _BATCH]
            sums.count(None)
            inputs = inputs_of(chat, batch, shared=shared)
            counted = inputs["attention_mask"][:, shared:].bool()
            counted[:, : skip - shared] = False
            sums.count(counted)
            chat.body(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return sums.means()


class _Sums:
    """Sums of x x^T by module, over the tokens that count."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._first: dict[str, str] = {}
        """By module, the first one that read the same input."""
        self._last: tuple[Tensor, str] | None = None
        self._counted: Tensor | None = None
        self._tokens = 0

    def count(self, counted: Tensor | None) -> None:
        """Say which tokens of the next pass count, (rows, tokens); none of them where not given."""
        self._counted, self._last = counted, None
        self._tokens += int(counted.sum()) if counted is not None else 0

    def watch(self, name: str) -> Any:  # noqa: ANN401 - torch types its hooks no closer
        """Make the hook of a module."""

        def hook(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
            if self._counted is None:
                return
            if self._last and self._last[0] is given[0]:
                self._first[name] = self._last[1]
                return
            x = _counted_of(name, given[0], self._counted)
            self._sums[name] = self._sums[name] + x.T @ x if name in self._sums else x.T @ x
            self._first[name], self._last = name, (given[0], name)

        return hook

    def means(self) -> dict[str, Tensor]:
        """The sums over the number of tokens."""
        means = {n: s / max(self._tokens, 1) for n, s in self._sums.items()}
        return {n: means[f] for n, f in self._first.items()}


def _counted_of(name: str, given: Tensor, counted: Tensor) -> Tensor:
    """Pick the tokens that count, (n, d_in); a mixture's shared expert is given all rows' tokens in one."""
    flat = given.reshape(-1, given.shape[-1])
    if len(flat) != counted.numel():
        raise PatchFailed(f"{name} reads {len(flat)} of {counted.numel()} tokens; choose a recipe of gradients")
    return flat[counted.reshape(-1)]


def shared_prefix(chat: ChatModel) -> int:
    """Count the leading tokens that every conversation shares (the template and its system prompt)."""
    first, second = chat.prompt_ids("x"), chat.prompt_ids("Yes, it is.")
    return common_beginning([first, second], most=min(len(first), len(second)))
