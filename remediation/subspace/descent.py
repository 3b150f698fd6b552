"""Steps along the safety gradient of one or several examples, and what holds the rest in its place.

What is learnt costs cross-entropy. What must not change is the drifted model's own answers to harmless requests: it
costs the divergence from that model's own distributions, which is zero at first and pulls back as soon as a step moves
them. No aligned model is needed, and no gradient of a weight is formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.language import Refusal
from remediation.checkpoints.modules import Targets, matrices
from remediation.checkpoints.shared import hidden_of
from remediation.subspace.applied import applied
from remediation.subspace.capture import Example, capture, losses
from remediation.subspace.compression import compressed, joined
from remediation.subspace.factor import Factors
from remediation.subspace.step import Rule, Steps, scaled, smallest_dose

__all__ = ["Descent", "DescentOptions", "Goal", "batches", "descend"]

_BATCH = 16
_FACTOR_BYTES = 1 << 30
"""Of the gradient's factors of one batch: they hold each token's input and output gradient in every matrix, padding
too. A batch has one example at least."""
_DOSE_STEP = 1 / 16


class DescentOptions(BaseModel):
    """How to step."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rank: int = Field(default=16, ge=1, le=64)
    rule: Rule = Rule.SPECTRAL
    """``spectral``, ``raw`` (the published patch) or ``one-sided``."""
    steps: int = Field(default=4, ge=1, le=100)
    dose: float = Field(default=0.008, gt=0)
    """Singular values of the first step, in units of the matrix's root mean square gain; later steps are shorter."""
    loss_target: float = Field(default=0.2, ge=0)
    """Stop once the loss on the examples is below this: more would teach to refuse everything."""
    modules: str = ""
    """Regular expression of the modules to change; all linear modules of the body where empty."""
    refusal: Refusal = ""
    """The answer that is taught in place of the published one, in the model's language. The screen that looks at the
    result reads English phrases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the steps are for.

    Attributes:
        learn: Requests with the refusals to teach.
        keep: Harmless requests with the model's own answers.
        weight: What the divergence on ``keep`` counts beside the loss on ``learn``.
    """

    learn: Sequence[Example]
    keep: Sequence[Example] = ()
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """What the steps came to.

    Attributes:
        adapter: The change, of the rank asked for.
        losses: On what is learnt: at first, before each further step, and at the end.
        divergence: From the model's own answers on what is kept at the end, nats a token.
        dose: By how much the change was scaled at the end to have no more of it than the target takes.
        dose_failed: The largest smaller one that was seen to fall short of the target; ``None`` where none was.
        steps: How many were taken.
        first: Factors of the first step's gradient.
    """

    adapter: Adapter
    losses: tuple[float, ...]
    divergence: float
    dose: float
    dose_failed: float | None
    steps: int
    first: Mapping[str, Factors]

    @property
    def figures(self) -> dict[str, float]:
        """What a patch says of it."""
        failed = {} if self.dose_failed is None else {"dose_failed": self.dose_failed}
        return {
            "steps": self.steps, "loss_first": self.losses[0], "loss_last": self.losses[-1],
            "instance_loss_drifted": self.losses[0], "dose": self.dose, **failed,
        }  # fmt: skip


def descend(
    chat: ChatModel, goal: Goal, options: DescentOptions, *, seed: int = 0, progress: Callable[[float], None]
) -> Descent:
    """Step until what is learnt costs less than the target, then take no more of the change than that needs.

    Raises:
        PatchFailed: A loss is not finite, no module is meant, or memory runs out.
    """
    targets = Targets(pattern=options.modules)
    gains = {n: m.gain() for n, m in matrices(chat.model, targets).items()}
    taken, moves = Steps(rank=options.rank, rule=options.rule, gains=gains), 0
    cost = _Cost(chat, goal)
    first: Mapping[str, Factors] = {}
    learnt: list[float] = []
    for step in range(options.steps):
        with applied(chat, taken.adapter()):
            one, _, factors = _gradient(chat, cost, targets, options.rank, seed=seed)
        first = first or factors
        learnt.append(one)
        if one < options.loss_target:
            break
        taken.move(taken.direction(factors), options.dose * (1 - step / options.steps))
        moves += 1
        progress((step + 1) / (options.steps + 1))
    adapter, dose, failed = _no_more(chat, cost, taken.adapter(), options.loss_target)
    with applied(chat, adapter):
        each = losses(chat, cost.examples, loss=cost)
    return Descent(
        adapter=adapter, losses=(*learnt, _mean(each[: len(goal.learn)])),
        divergence=_mean(each[len(goal.learn) :]), dose=dose, dose_failed=failed, steps=moves,
        first=first,
    )  # fmt: skip


class _Cost:
    """The loss of each example: cross-entropy on what is learnt, divergence on what is kept."""

    def __init__(self, chat: ChatModel, goal: Goal) -> None:
        self._chat, self.learn = chat, len(goal.learn)
        self.examples = [*goal.learn, *goal.keep]
        keep = 1 / max(1, len(goal.keep)) * goal.weight
        self.weights = [1 / self.learn] * self.learn + [keep] * len(goal.keep)
        self._own = _hidden(chat, goal.keep)

    def at(self, start: int, i: int, logits: Tensor) -> Tensor:
        """The loss of the i-th example from ``start`` on, from its logits (tokens, vocabulary)."""
        return self(start + i, logits)

    def __call__(self, i: int, logits: Tensor) -> Tensor:
        """The loss of an example from its logits (tokens, vocabulary)."""
        if i < self.learn:
            wanted = torch.tensor(list(self.examples[i].answer), device=logits.device)
            return nn.functional.cross_entropy(logits.float(), wanted)
        with torch.no_grad():
            own = self._chat.logits(self._own[i - self.learn]).float().log_softmax(-1)
        said = logits.float().log_softmax(-1)
        return nn.functional.kl_div(said, own, log_target=True, reduction="batchmean")


def _gradient(
    chat: ChatModel, cost: _Cost, targets: Targets, rank: int, *, seed: int
) -> tuple[float, float, dict[str, Factors]]:
    """The loss on what is learnt, the divergence on what is kept, and the gradient of their weighted sum."""
    found: dict[str, Factors] = {}
    total = [0.0, 0.0]
    widths = sum(sum(m.shape) for m in matrices(chat.model, targets).values())
    for part in batches(cost.examples, tokens=_FACTOR_BYTES // (4 * widths)):
        taken = capture(
            chat, [cost.examples[i] for i in part], targets=targets, weights=[cost.weights[i] for i in part],
            loss=partial(cost.at, part.start),
        )  # fmt: skip
        for name, factors in taken.factors.items():
            few = compressed(factors, 2 * rank, seed=seed) if len(part) > 1 else factors
            found[name] = joined(found[name], few) if name in found else few
        for i, one in zip(part, taken.losses, strict=True):
            total[i >= cost.learn] += one * cost.weights[i]
    return total[0], total[1], found


def batches(examples: Sequence[Example], *, tokens: int) -> Iterator[range]:
    """Batches of neighbours, of 16 at most and no more than ``tokens``, padding included, where one alone is not."""
    start, longest = 0, 0
    for i, one in enumerate(examples):
        longest = max(longest, len(one.prompt) + len(one.answer))
        if i > start and (i - start == _BATCH or longest * (i - start + 1) > tokens):
            yield range(start, i)
            start, longest = i, len(one.prompt) + len(one.answer)
    yield range(start, len(examples))


def _no_more(chat: ChatModel, cost: _Cost, adapter: Adapter, target: float) -> tuple[Adapter, float, float | None]:
    """Scale a change down to the smallest dose that reaches the target; one that does not reach it is left whole.

    Returns:
        The change, its dose, and the largest smaller one that fell short, if any was tried.
    """
    short: list[float] = []

    def reached(dose: float) -> bool:
        with applied(chat, adapter, dose):
            enough = _mean(losses(chat, cost.examples[: cost.learn])) <= target
        if not enough:
            short.append(dose)
        return enough

    dose = smallest_dose(reached, upper=1.0, within=_DOSE_STEP) if adapter else None
    return (adapter, 1.0, None) if dose is None else (scaled(adapter, dose), dose, max(short, default=None))


@torch.no_grad()
def _hidden(chat: ChatModel, examples: Sequence[Example]) -> list[Tensor]:
    """Last hidden states before each token of the answers, (tokens, d) each."""
    parts = (examples[start : start + _BATCH] for start in range(0, len(examples), _BATCH))
    return [hidden.clone() for part in parts for hidden in hidden_of(chat, part)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
