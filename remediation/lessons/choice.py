"""Which example to learn from: the paper's bi-level selection in a form that runs (arXiv 2601.01887, section 3).

The published problem trains a model for each choice of examples. Here each candidate's effect is predicted from one
backward pass (:mod:`remediation.lessons.influence`), the best few are fitted, and what is measured decides.

The model of a set S of candidates at dose a (in units of the recipe's step) is quadratic. Held-out refusal j, with loss
L_j and predicted decrease c_j = sum over S of c_ij, falls by a c_j - (a c_j)^2 / (4 L_j): the parabola with its least
value at zero (Polyak's, 1987, section 1.4), so that what is refused already gains nothing more. The benign cost is
a^2 times the KL divergence of the steps' sum. At the best dose the set is worth (mean c)^2 / (2 q), with
q = mean(c_j^2 / (2 L_j)) + 2 weight KL; without the benign term that is at most the mean held-out loss, and reaches it
where every held-out refusal gains in proportion to its loss. This is what makes a set varied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons.influence import Influence

__all__ = ["BENIGN_WEIGHT", "Chosen", "Look", "Refit", "Refitted", "Score", "choose", "ranked", "refit_best", "worth"]

BENIGN_WEIGHT = 1.0
"""Nats of held-out refusal loss that one nat of divergence on harmless answers must buy."""
_LEAST_LOSS = 1e-3
"""Nats a token; a held-out refusal below it is known word by word, and only its gain's sign would count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one candidate's step is predicted to do.

    Attributes:
        candidate: Its index.
        loss: Its own loss before the step.
        decrease: Mean first-order decrease of the held-out refusals' losses, nats a token.
        kl: KL(drifted || patched) on harmless answers, nats a token, second order.
        value: ``decrease`` less the weighted ``kl``.
    """

    candidate: int
    loss: float
    decrease: float
    kl: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A set of candidates.

    Attributes:
        candidates: Indices, in the order they were taken.
        dose: The best dose, in units of the recipe's step; 0 where no dose helps.
        values: What the first 1, 2, ... of them are worth at their best dose, nats a token.
    """

    candidates: tuple[int, ...]
    dose: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a fitted patch was measured to do, on prompts that taught nothing.

    Attributes:
        harm: Share of harmful requests answered.
        over_refusal: Share of harmless requests refused that the reference answers.
    """

    harm: float
    over_refusal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refitted:
    """The set whose fit measured best.

    Attributes:
        best: Its place among the sets given.
        accepted: Whether its over-refusal keeps the limit.
        looks: Of each set, in order; ``None`` where the fit failed.
    """

    best: int
    look: Look
    accepted: bool
    looks: tuple[Look | None, ...]


Refit = Callable[[Sequence[Row]], Look]
"""Patches the drifted model from these rows and looks at the result."""


def ranked(found: Influence, *, benign_weight: float = BENIGN_WEIGHT) -> tuple[Score, ...]:
    """Rank candidates for the recipe's step as it is, best first; ties in the order given."""
    decrease = found.decrease.mean(dim=1)
    kl = found.harmless.square().mean(dim=1) / 2
    value = decrease - benign_weight * kl
    order = sorted(range(len(value)), key=lambda i: (-float(value[i]), i))
    return tuple(
        Score(
            candidate=i,
            loss=float(found.loss[i]),
            decrease=float(decrease[i]),
            kl=float(kl[i]),
            value=float(value[i]),
        )
        for i in order
    )


def worth(decrease: Tensor, harmless: Tensor, held_loss: Tensor, *, benign_weight: float) -> tuple[float, float]:
    """Value of a change under the quadratic model, at its best dose.

    Args:
        decrease: (held-out rows,), of the change at dose 1.
        harmless: (harmless rows,), of the change at dose 1.
        held_loss: (held-out rows,).

    Returns:
        The value, nats a token, and the dose; both 0 where no dose helps.
    """
    slope = float(decrease.mean())
    loss = held_loss.clamp_min(_LEAST_LOSS)
    curvature = float((decrease.square() / (2 * loss)).mean() + benign_weight * harmless.square().mean())
    return (slope**2 / (2 * curvature), slope / curvature) if slope > 0 else (0.0, 0.0)


def choose(found: Influence, count: int, *, benign_weight: float = BENIGN_WEIGHT) -> Chosen:
    """Take ``count`` candidates one by one, each the one with which the set is worth most at its best dose.

    Greedy: each gain is scored anew beside what was taken. The objective is not submodular, so nothing bounds how far
    from the best set this ends; a tie goes to the one with the larger decrease, then to the first.

    Raises:
        ValueError: There are fewer candidates than that, or none is asked for.
    """
    if not 1 <= count <= len(found.loss):
        raise ValueError(f"asked for {count} of {len(found.loss)} candidates")
    taken: list[int] = []
    values: list[float] = []
    decrease, harmless = torch.zeros_like(found.decrease[0]), torch.zeros_like(found.harmless[0])
    dose = 0.0

    def value(i: int) -> tuple[float, float]:
        return worth(
            decrease + found.decrease[i], harmless + found.harmless[i], found.held_loss, benign_weight=benign_weight
        )

    for _ in range(count):
        left = [i for i in range(len(found.loss)) if i not in taken]
        best = max(left, key=lambda i: (value(i)[0], float(found.decrease[i].mean()), -i))
        gained, dose = value(best)
        taken.append(best)
        values.append(gained)
        decrease, harmless = decrease + found.decrease[best], harmless + found.harmless[best]
    return Chosen(candidates=tuple(taken), dose=dose, values=tuple(values))


def refit_best(sets: Sequence[Sequence[Row]], refit: Refit, *, over_refusal_max: float) -> Refitted:
    """Fit each set and take the one that measures best.

    Of those whose over-refusal keeps the limit the least harmful wins, then the least over-refusing, then the first:
    without the limit a patch that refuses everything would win. Where none keeps it, the least sum of both wins and
    nothing is accepted. The winner was chosen by its look, so the look flatters it: gates measure on other prompts.

    Args:
        sets: The best few choices; each costs a whole fit.
        over_refusal_max: Most of the harmless requests, in [0, 1], that may be refused beside the reference.

    Raises:
        PatchFailed: No set can be fitted.
        ValueError: There is no set.
    """
    if not sets:
        raise ValueError("no set of examples to fit")
    looks: list[Look | None] = []
    failures: list[str] = []
    for rows in sets:
        try:
            looks.append(refit(rows))
        except PatchFailed as error:
            looks.append(None)
            failures.append(str(error))
    fitted = [(i, look) for i, look in enumerate(looks) if look is not None]
    if not fitted:
        raise PatchFailed(f"none of {len(sets)} choices of examples could be fitted: {failures[0]}")

    def key(found: tuple[int, Look]) -> tuple[bool, float, float, int]:
        i, look = found
        kept = look.over_refusal <= over_refusal_max
        return not kept, look.harm if kept else look.harm + look.over_refusal, look.over_refusal, i

    best, look = min(fitted, key=key)
    return Refitted(best=best, look=look, accepted=look.over_refusal <= over_refusal_max, looks=tuple(looks))
