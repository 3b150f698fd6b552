"""Factors of a loss's gradient, from what runs through a model's matrices.

Weights are frozen throughout, so no gradient of a weight is ever computed or stored; the embedding's output takes one
instead, so that it reaches every layer. Inputs are taken as they pass, gradients as they come back. That works the
same on weights in full precision, in bfloat16, quantised, and off the device.

Layer by layer, each decoder layer forgets what it computed and computes it again when the gradient arrives. With
weights off the device (``load(..., offload=...)``), one layer of them is there at a time, forward and backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.modules import Matrix, Targets, matrices, tapped
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.memory import out_of_memory
from remediation.subspace.factor import Factors
from remediation.subspace.moments import input_moments, shared_prefix

__all__ = [
    "Captured", "Example", "capture", "examples_of", "frozen", "gradient_factors", "input_moments", "losses",
    "shared_prefix",
]  # fmt: skip

_EVERYTHING = Targets()
_BATCH = 16
"""Examples of one forward pass where nothing is taken from it."""

Loss = Callable[[int, Tensor], Tensor]
"""The loss of an example of this number, from its logits before each token of the answer (tokens, vocabulary)."""


class Example(NamedTuple):
    """A prompt and the answer whose tokens cost; ids of tokens, one at least of each."""

    prompt: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What one backward pass through several examples left.

    Attributes:
        losses: Of each example.
        loss: Their weighted sum, whose gradient the factors are.
        factors: By matrix, the tokens of all examples one after the other.
        weights: Of each example in the sum.
        origins: By matrix, (T,): which example a token is of.
    """

    losses: tuple[float, ...]
    loss: float
    factors: dict[str, Factors]
    weights: tuple[float, ...]
    origins: dict[str, Tensor]

    def of(self, example: int) -> dict[str, Factors]:
        """Factors of the gradient of one example's own loss, without its weight, which must not be 0."""
        found: dict[str, Factors] = {}
        for name, one in self.factors.items():
            own = self.origins[name] == example
            found[name] = Factors(d=one.d[own] / self.weights[example], x=one.x[own])
        return found


def examples_of(chat: ChatModel, rows: Sequence[Row]) -> list[Example]:
    """Tokenise rows."""
    return [Example(chat.prompt_ids(r.prompt), chat.answer_ids(r.answer, whole=r.whole)) for r in rows]


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


def capture(
    chat: ChatModel,
    examples: Sequence[Example],
    *,
    targets: Targets = _EVERYTHING,
    weights: Sequence[float] | None = None,
    loss: Loss | None = None,
    layerwise: bool = False,
) -> Captured:
    """Take the factors of the gradient of ``sum_i w_i loss_i`` in one backward pass, examples side by side.

    Args:
        targets: Which matrices.
        weights: ``w``, of any sign; one over their number if not given.
        loss: In place of the mean cross-entropy of the answer's tokens.
        layerwise: Compute each layer twice rather than keep what it computed. Tried by itself where memory runs out.

    Raises:
        PatchFailed: An example is empty, the loss is not finite, no matrix is meant, or memory runs out all the same.
    """
    _require_tokens(examples)
    chosen = matrices(chat.model, targets)
    shares = tuple(weights) if weights is not None else (1 / len(examples),) * len(examples)
    try:
        return _captured(chat, examples, chosen, shares, loss or _cross_entropy(examples), layerwise=layerwise)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if layerwise:
            raise _too_large(examples, chosen) from error
    # outside of the handler: the error's traceback keeps all that the first attempt made
    return capture(chat, examples, targets=targets, weights=weights, loss=loss, layerwise=True)


def _too_large(examples: Sequence[Example], chosen: Mapping[str, Matrix]) -> PatchFailed:
    tokens = sum(len(e.prompt) + len(e.answer) for e in examples)
    held = sum(sum(m.shape) * m.dtype.itemsize for m in chosen.values()) * tokens
    return PatchFailed(
        f"out of memory at {tokens} tokens: the factors of {len(chosen)} matrices alone take {held / 1e9:.1f} GB "
        "beside one layer of the model; give fewer or shorter examples or fewer modules, or use a larger machine"
    )


def gradient_factors(chat: ChatModel, prompt: Sequence[int], answer: Sequence[int]) -> tuple[float, dict[str, Factors]]:
    """Take the factors of the gradient of the mean cross-entropy of one answer's tokens.

    Returns:
        The loss, and factors by module name; the loss's gradient in a module's weight is ``d^T x``.
    """
    found = capture(chat, [Example(prompt, answer)])
    return found.loss, found.factors


@torch.no_grad()
def losses(chat: ChatModel, examples: Sequence[Example], *, loss: Loss | None = None) -> tuple[float, ...]:
    """Losses of examples, as ``capture`` counts them, in a forward pass for every few of them.

    Raises:
        PatchFailed: An example is empty.
    """
    _require_tokens(examples)
    counted = loss or _cross_entropy(examples)
    found: list[float] = []
    for start in range(0, len(examples), _BATCH):
        part = examples[start : start + _BATCH]
        found += [one.item() for one in _losses(chat, part, partial(_from, counted, start))]
    return tuple(found)


def _from(loss: Loss, start: int, i: int, logits: Tensor) -> Tensor:
    return loss(start + i, logits)


def _require_tokens(examples: Sequence[Example]) -> None:
    if not examples:
        raise PatchFailed("no example to take a gradient from")
    for i, one in enumerate(examples):
        if not one.prompt or not one.answer:
            raise PatchFailed(f"example {i} has an empty {'answer' if one.prompt else 'prompt'}; leave it out")


def _cross_entropy(examples: Sequence[Example]) -> Loss:
    def loss(i: int, logits: Tensor) -> Tensor:
        wanted = torch.tensor(list(examples[i].answer), device=logits.device)
        return nn.functional.cross_entropy(logits.float(), wanted)

    return loss


def _inputs(chat: ChatModel, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Ids and mask, without each answer's last token: nothing is read off it."""
    return chat.pad([[*e.prompt, *e.answer][:-1] for e in examples])


def _losses(chat: ChatModel, examples: Sequence[Example], loss: Loss) -> list[Tensor]:
    ids, mask = _inputs(chat, examples)
    hidden = chat.body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state  # (n, t, d)
    found = []
    for i, one in enumerate(examples):
        answered = hidden[i, len(one.prompt) - 1 : len(one.prompt) + len(one.answer) - 1]
        found.append(loss(i, chat.logits(answered)))
    return found


def _captured(
    chat: ChatModel,
    examples: Sequence[Example],
    chosen: Mapping[str, Matrix],
    weights: tuple[float, ...],
    loss: Loss,
    *,
    layerwise: bool,
) -> Captured:
    _, mask = _inputs(chat, examples)
    real = mask.flatten().bool()
    origin = torch.arange(len(mask), device=mask.device).repeat_interleave(mask.shape[1])
    taken = _Taken(real, origin)
    with ExitStack() as stack:
        stack.enter_context(frozen(chat))
        stack.enter_context(torch.enable_grad())
        if layerwise:
            stack.enter_context(_recomputed(chat.body))
        stack.callback(chat.embedding.register_forward_hook(lambda _, __, out: out.requires_grad_()).remove)
        stack.enter_context(tapped(chosen, taken.tap))
        stack.callback(taken.let_go)
        each = _losses(chat, examples, loss)
        total = torch.stack([w * one for w, one in zip(weights, each, strict=True)]).sum()
        said = tuple(one.item() for one in each)
        if not all(map(math.isfinite, (*said, total.item()))):
            worst = next((i for i, one in enumerate(said) if not math.isfinite(one)), 0)
            raise PatchFailed(f"the loss of example {worst} is {said[worst]}; check the weights for NaN")
        total.backward()  # type: ignore[no-untyped-call]
    factors = {n: Factors(d=taken.gradients[n], x=x) for n, x in taken.inputs.items() if n in taken.gradients}
    return Captured(
        losses=said, loss=total.item(), weights=weights,
        factors={n: factors[n] for n in chosen if n in factors}, origins={n: taken.origins[n] for n in factors},
    )  # fmt: skip


class _Taken:
    """Inputs and gradients of real tokens, by matrix; what several matrices read is kept once."""

    def __init__(self, real: Tensor, origin: Tensor) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        self.origins: dict[str, Tensor] = {}
        self._real = None if bool(real.all()) else real
        self._origin = origin[real]
        self._flat_origin = origin
        self._last: tuple[Tensor, Tensor] | None = None

    def tap(self, name: str, x: Tensor, out: Tensor, tokens: Tensor | None) -> None:
        if not out.requires_grad:
            return
        if self._last is None or self._last[0] is not x:
            self._last = (x, self._rows(x.detach(), tokens))
        self.inputs[name] = self._last[1]
        if tokens is None:
            self.origins[name] = self._origin
        else:
            kept = tokens if self._real is None else tokens[self._real[tokens]]
            self.origins[name] = self._flat_origin[kept]
        out.register_hook(partial(self._came_back, name, tokens))  # type: ignore[no-untyped-call]

    def let_go(self) -> None:
        """Forget the graph, whose hooks hold this one: Python can't see such a circle and would never free it."""
        self._last = None

    def _came_back(self, name: str, tokens: Tensor | None, gradient: Tensor) -> None:
        self.gradients[name] = self._rows(gradient, tokens)

    def _rows(self, values: Tensor, tokens: Tensor | None) -> Tensor:
        flat = values.reshape(-1, values.shape[-1])
        if self._real is None:
            return flat
        return flat[self._real if tokens is None else self._real[tokens]]


@contextmanager
def _recomputed(body: nn.Module) -> Iterator[None]:
    """Have each decoder layer computed a second time on the way back, without changing how it computes.

    Raises:
        PatchFailed: The model's layers can't be.
    """
    from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[Any] = [m for m in body.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise PatchFailed(f"the layers of {type(body).__name__} can't be computed one by one; give fewer examples")
    before = [(m, m.gradient_checkpointing, m.training) for m in layers]
    try:
        for layer in layers:  # the layer's own switch alone: what is inside it keeps to evaluation
            layer.gradient_checkpointing, layer.training = True, True
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # noqa: SLF001
        with set_checkpoint_early_stop(enable=False):  # a module that is stopped half-way keeps its weights in memory
            yield
    finally:
        for layer, switched, training in before:
            layer.gradient_checkpointing, layer.training = switched, training
