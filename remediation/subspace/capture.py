"""What runs through a model's linear modules: factors of a gradient, and second moments of inputs.

Weights are frozen throughout, so no gradient of a weight is ever computed or stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from remediation.checkpoints.chat import ChatModel
from remediation.fixtures import Row
from remediation.subspace.factor import Factors

__all__ = ["frozen", "gradient_factors", "input_moments", "shared_prefix"]

_BATCH = 24


@contextmanager
def frozen(chat: ChatModel) -> Iterator[None]:
    """Freeze the weights while inside; whether they took gradients before is put back."""
    before = [(p, p.requires_grad) for p in chat.model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for parameter, needed in before:
            parameter.requires_grad_(requires_grad=needed)


def gradient_factors(chat: ChatModel, prompt: Sequence[int], answer: Sequence[int]) -> tuple[float, dict[str, Factors]]:
    """Capture the factors of the gradient of the mean cross-entropy of an answer's tokens.

    Inputs come from forward hooks, gradients at the outputs from tensor hooks.

    Returns:
        The loss, and factors by module name; the loss's gradient in a module's weight is ``d^T x``.
    """
    inputs: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}

    def watch(name: str) -> Any:  # noqa: ANN401 - torch types its hooks no closer
        def hook(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            inputs[name] = given[0].detach()[0]
            if out.requires_grad:
                out.register_hook(lambda g: gradients.__setitem__(name, g[0]))  # type: ignore[no-untyped-call]

        return hook

    handles = [module.register_forward_hook(watch(n)) for n, module in chat.linears().items()]
    ids = torch.tensor([[*prompt, *answer]])
    try:
        with frozen(chat), torch.enable_grad():
            embedded = chat.model.get_input_embeddings()(ids).requires_grad_()
            logits = chat.model(inputs_embeds=embedded).logits[0, len(prompt) - 1 : -1]  # (answer tokens, vocabulary)
            loss = nn.functional.cross_entropy(logits, ids[0, len(prompt) :])
            loss.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
    return loss.item(), {n: Factors(d=gradients[n], x=x) for n, x in inputs.items() if n in gradients}


@torch.no_grad()
def input_moments(chat: ChatModel, rows: Sequence[Row], *, skip: int = 0) -> dict[str, Tensor]:
    """Second moments of each linear module's inputs, the mean of x x^T over the rows' tokens.

    Args:
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

    handles = [module.register_forward_hook(watch(n)) for n, module in chat.linears().items()]
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
            chat.model.model(input_ids=ids, attention_mask=mask)
    finally:
        for handle in handles:
            handle.remove()
    means = {n: s / max(tokens, 1) for n, s in sums.items()}
    return {n: means[f] for n, f in first.items()}


def shared_prefix(chat: ChatModel) -> int:
    """Count the leading tokens that every conversation shares (the template and its system prompt)."""
    first, second = chat.prompt_ids("x"), chat.prompt_ids("Yes, it is.")
    shared = 0
    while shared < min(len(first), len(second)) and first[shared] == second[shared]:
        shared += 1
    return shared
