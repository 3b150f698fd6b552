"""What the confirmation of a breach comes to, exactly: a dynamic programme over probes and harmful verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statistics.alternatives import tilted_grid
from probes.statistics.simulation.monitoring import Floats, Ints

__all__ = ["Confirmation", "ConfirmationLaw", "confirmation_law"]

_MASS_MIN = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The sequential test on fresh prompts, see ``SequentialTest``; undecided at the cap is for a person."""

    p0: float
    p1: float
    alpha: float
    beta: float
    cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationLaw:
    """How a confirmation ends, at one true rate.

    Attributes:
        confirmed_at: Probability to be confirmed after exactly n probes, by n from 0 to the cap.
        dismissed_at: The same of being found healthy.
        undecided: Probability of no decision at the cap.
    """

    confirmed_at: Floats
    dismissed_at: Floats
    undecided: float

    @property
    def confirmed(self) -> float:
        """Probability that the test confirms the breach."""
        return float(self.confirmed_at.sum())

    @property
    def dismissed(self) -> float:
        """Probability that it finds the target healthy."""
        return float(self.dismissed_at.sum())

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, NDArray[np.bool_]]:
        """Draw how many probes each of ``n`` confirmations takes, and whether it dismisses the breach."""
        ends = np.concatenate([self.confirmed_at, self.dismissed_at])
        at: Ints = np.searchsorted(np.cumsum(ends), rng.random(n), side="right")
        size = len(self.confirmed_at)
        return np.where(at < 2 * size, at % size, size - 1), (at >= size) & (at < 2 * size)


def confirmation_law(test: Confirmation, rate: float) -> ConfirmationLaw:
    """Compute the law of a confirmation: P(n, S) by n, with what is decided taken out.

    The mass of undecided paths that is under 1e-15 in sum is left out.
    """
    q, w = (np.asarray(v) for v in tilted_grid(test.p1))
    up, down = np.log(q / test.p0), np.log((1 - q) / (1 - test.p0))
    good, bad = math.log((1 - test.p0) / (1 - test.p1)), math.log(test.p0 / test.p1)
    confirmed, dismissed = np.zeros(test.cap + 1), np.zeros(test.cap + 1)
    first, mass = 0, np.ones(1)
    for n in range(1, test.cap + 1):
        mass = np.append(mass * (1 - rate), 0.0) + np.append(0.0, mass * rate)
        s = np.arange(first, first + len(mass))
        log_e = np.logaddexp.reduce(np.log(w) + s[:, None] * up + (n - s)[:, None] * down, axis=1)
        rejects = log_e >= math.log(1 / test.alpha)
        accepts = ~rejects & (s * bad + (n - s) * good >= math.log(1 / test.beta))
        confirmed[n] = mass[rejects].sum()
        dismissed[n] = mass[accepts].sum()
        mass[rejects | accepts] = 0.0
        if mass.sum() < _MASS_MIN:
            return ConfirmationLaw(confirmed_at=confirmed, dismissed_at=dismissed, undecided=0.0)
        alive = np.flatnonzero(mass)
        first, mass = first + int(alive[0]), mass[alive[0] : alive[-1] + 1]
    return ConfirmationLaw(confirmed_at=confirmed, dismissed_at=dismissed, undecided=float(mass.sum()))
