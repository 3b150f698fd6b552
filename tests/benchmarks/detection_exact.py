"""Exact computations: when a watched count leaves its bounds, Wald's bounds, and the optimal CUSUM.

The count S of successes after n probes is a Markov chain, so the law of the first exit from a corridor
``lower[n] < S < upper[n]`` is a sum over one array of masses that is shifted once for each probe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from probes.statistics.evalues import Decision, SequentialTest

__all__ = ["Corridor", "Cusum", "Exit", "decisions", "exits", "kl", "optimal_cusum", "wald_healthy", "wald_probes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corridor:
    """Where a watched count goes on; index 0 is the first probe.

    Attributes:
        lower: The largest S that ends it from below, -1 where none does.
        upper: The smallest S that ends it from above, n + 1 where none does.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """Law of the first exit.

    Attributes:
        below: Probability of leaving from below.
        above: Probability of leaving from above.
        still: Probability of not having left at the corridor's end.
        probes: Expected probes until the exit or the corridor's end.
    """

    below: float
    above: float
    still: float
    probes: float


def decisions(test: SequentialTest, probes: int) -> Corridor:
    """Ask the test itself where it stops.

    Evidence grows with each success and shrinks with each failure, so neither edge ever moves down.
    """

    def says(n: int, s: int) -> Decision:
        return replace(test, n=n, successes=s).decision

    lower, upper = [], []
    low, high = -1, 0
    for n in range(1, probes + 1):
        while high <= n and says(n, high) is not Decision.REJECT:
            high += 1
        while low < n and says(n, low + 1) is Decision.ACCEPT:
            low += 1
        lower.append(low)
        upper.append(high)
    return Corridor(lower=tuple(lower), upper=tuple(upper))


def exits(corridor: Corridor, rate: float | Sequence[float]) -> Exit:
    """Sum over all streams of independent outcomes with this rate, or these rates."""
    length = len(corridor.lower)
    rates = [float(rate)] * length if isinstance(rate, int | float) else list(rate)
    mass = np.zeros(length + 2)
    mass[0] = 1.0
    below = above = probes = 0.0
    for p, low, high in zip(rates, corridor.lower, corridor.upper, strict=True):
        probes += float(mass.sum())
        mass[1:] = mass[1:] * (1 - p) + mass[:-1] * p
        mass[0] *= 1 - p
        below += float(mass[: low + 1].sum())
        above += float(mass[high:].sum())
        mass[: low + 1] = 0.0
        mass[high:] = 0.0
    return Exit(below=below, above=above, still=float(mass.sum()), probes=probes)


def kl(a: float, b: float) -> float:
    """Kullback-Leibler divergence of Bernoulli rates, in nats."""
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))


def wald_probes(p0: float, p1: float, alpha: float, beta: float) -> float:
    """Bound the expected probes from below at rate p1, for any test with these errors (Wald 1945)."""
    return ((1 - beta) * math.log((1 - beta) / alpha) + beta * math.log(beta / (1 - alpha))) / kl(p1, p0)


def wald_healthy(p0: float, p1: float, alpha: float, beta: float) -> float:
    """Do the same at rate p0."""
    return wald_probes(p1, p0, beta, alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cusum:
    """The Bernoulli CUSUM on its lattice (Reynolds & Stoumbos 1999): a success adds ``jump``, each probe takes 1 off.

    Optimal in Lorden's sense for a known p1 (Moustakides 1986). It alarms at ``height``; where no height has the
    wanted mean time to a false alarm exactly, the height below is used at a share ``low`` of the restarts.
    """

    jump: int
    height: int
    low: float

    def probes(self, p: float) -> float:
        """Expected probes from 0 to the alarm at rate p."""
        return self.low * _run_length(self.jump, self.height - 1, p) + (1 - self.low) * _run_length(
            self.jump, self.height, p
        )


def optimal_cusum(p0: float, p1: float, gamma: float) -> Cusum:
    """Find the CUSUM whose mean time to a false alarm is gamma."""
    down = -math.log((1 - p1) / (1 - p0))
    jump = round(math.log(p1 * (1 - p0) / (p0 * (1 - p1))) / down)
    height = 2
    while _run_length(jump, height, p0) < gamma:
        height *= 2
    below = height // 2
    while height - below > 1:
        middle = (below + height) // 2
        below, height = (middle, height) if _run_length(jump, middle, p0) < gamma else (below, middle)
    short, long = _run_length(jump, height - 1, p0), _run_length(jump, height, p0)
    return Cusum(jump=jump, height=height, low=(long - gamma) / (long - short))


def _run_length(jump: int, height: int, p: float) -> float:
    """Solve (I - Q) L = 1 for the chain i -> max(i - 1, 0) | i + jump - 1, absorbed at ``height``."""
    chain = np.eye(height)
    for i in range(height):
        chain[i, max(i - 1, 0)] -= 1 - p
        if i + jump - 1 < height:
            chain[i, i + jump - 1] -= p
    return float(np.linalg.solve(chain, np.ones(height))[0])
