"""Many runs of a stratified e-detector side by side, in plain numbers instead of logarithms.

Same recursion as ``StratifiedEDetector``, one array operation for all runs; ``largest_gap`` holds it against the
library on the same outcomes, and each part that uses it does so in the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statistics.detectors import StratifiedEDetector
from probes.statistics.evalues import tilted_grid

__all__ = [
    "CASES", "EPSILON", "Design", "Floats", "Ints", "Policy", "Runs", "adaptive", "largest_gap", "round_robin",
    "run_lengths", "single",
]  # fmt: skip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Policy = Callable[[int, Floats, Floats], Ints]
"""Choose a stratum for each run, from the probe's number, R of each run and stratum, and a uniform number a run."""

EPSILON = 0.5
_COMPACT_BELOW = 0.8
_RESTART = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a detector is built for."""

    p0: float
    p1: float

    def __str__(self) -> str:
        """``.02->.10``."""
        return "->".join(f"{p:.2f}".removeprefix("0") for p in (self.p0, self.p1))


CASES = (Design(p0=0.02, p1=0.10), Design(p0=0.05, p1=0.20), Design(p0=0.01, p1=0.90))


class Runs:
    """State of all runs.

    Attributes:
        m: Evidence of each run, stratum and alternative.
        r: Statistic of each run and stratum.
    """

    def __init__(self, design: Design, runs: int, strata: int) -> None:
        """Start at zero."""
        q, w = (np.array(v) for v in tilted_grid(design.p1))
        self._factors = np.stack([(1 - q) / (1 - design.p0), q / design.p0])
        self._w = w
        self._rows = np.arange(runs)
        self.m = np.zeros((runs, strata, len(w)))
        self.r = np.zeros((runs, strata))

    def update(self, stratum: Ints, success: NDArray[np.bool_]) -> None:
        """Add one probe to each run: M <- (M + 1) LR."""
        at = self._rows, stratum
        now = (self.m[at] + 1) * self._factors[success.astype(np.int64)]
        self.m[at] = now
        self.r[at] = now @ self._w

    def restart(self, rows: NDArray[np.bool_]) -> None:
        """Set runs back to zero."""
        self.m[rows] = 0.0
        self.r[rows] = 0.0

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop the other runs."""
        self.m, self.r = self.m[rows], self.r[rows]
        self._rows = np.arange(len(self.r))


def single(step: int, r: Floats, uniform: Floats) -> Ints:
    """Probe the only stratum."""
    return np.zeros(len(r), dtype=np.int64)


def round_robin(step: int, r: Floats, uniform: Floats) -> Ints:
    """Probe one stratum after the other."""
    return np.full(len(r), step % r.shape[1], dtype=np.int64)


def adaptive(step: int, r: Floats, uniform: Floats) -> Ints:
    """Probe as ``EpsilonGreedyAllocator`` with equal shares does: by inverting the distribution function at once."""
    strata = r.shape[1]
    hot = r.argmax(axis=1)
    top = r[np.arange(len(r)), hot]
    share = EPSILON / strata
    after = uniform - (1 - EPSILON)
    greedy = np.where(uniform < (hot + 1) * share, uniform, np.maximum(after, (hot + 0.5) * share)) / share
    chosen = np.where(top > 1, greedy, uniform * strata)
    return np.minimum(chosen.astype(np.int64), strata - 1)


def run_lengths(
    design: Design, rates: Floats, gamma: float, policy: Policy, rng: np.random.Generator, *, most: int = 10**7
) -> Ints:
    """Count the probes of each run until R reaches gamma.

    Args:
        rates: True rate of each run (row) and stratum (column).
        most: Probes after which a run counts as ended.
    """
    lengths = np.full(len(rates), most, dtype=np.int64)
    alive = np.arange(len(rates))
    state = Runs(design, *rates.shape)
    ended = np.zeros(len(rates), dtype=np.bool_)
    for step in range(most):
        uniform = rng.random((2, len(alive)))
        stratum = policy(step, state.r, uniform[0])
        state.update(stratum, uniform[1] < rates[np.arange(len(alive)), stratum])
        fresh = ~ended & (state.r.sum(axis=1) >= gamma)
        if not fresh.any():
            continue
        lengths[alive[fresh]] = step + 1
        ended |= fresh
        if ended.mean() > 1 - _COMPACT_BELOW:
            state.keep(~ended)
            alive, rates, ended = alive[~ended], rates[~ended], ended[~ended]
        if not len(alive):
            break
    return lengths


def largest_gap(design: Design, strata: int, policy: Policy, rate: float, probes: int, seed: int) -> float:
    """Hold one run, which starts anew at R = 1e6, against the library: the largest difference of log R."""
    rng = np.random.default_rng(seed)
    detector = fresh = StratifiedEDetector(p0=design.p0, p1=design.p1)
    state, gap = Runs(design, 1, strata), 0.0
    for step in range(probes):
        uniform = rng.random((2, 1))
        stratum = policy(step, state.r, uniform[0])
        success = uniform[1] < rate
        state.update(stratum, success)
        detector = detector.update(str(stratum[0]), bool(success[0]))
        gap = max(gap, abs(math.log(state.r.sum()) - detector.log_r))
        if detector.log_r >= math.log(_RESTART):
            state.restart(np.ones(1, dtype=np.bool_))
            detector = fresh
    return gap
