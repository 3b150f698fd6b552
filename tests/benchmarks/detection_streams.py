"""Many runs of a stratified e-detector side by side, in plain numbers instead of logarithms.

Same recursion as ``StratifiedEDetector`` and same choices as ``EpsilonGreedyAllocator``, one array operation for all
runs; ``largest_gap`` holds both against the library on the same outcomes, and each part that uses them does so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statistics.allocation import EpsilonGreedyAllocator
from probes.statistics.detectors import ShiryaevRobertsEDetector, StratifiedEDetector

__all__ = [
    "CASES", "Bools", "Design", "Floats", "Ints", "Policy", "Runs", "adaptive", "dealt", "largest_gap", "round_robin",
    "run_lengths",
]  # fmt: skip

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_EPSILON = 0.5
_GAP_MAX = 1e-9
_RESTART = 1e6
_ALIVE_MIN = 0.8
"""Runs that have ended are dropped once fewer than this share are left."""


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
        n: Probes of each run.
        surveyed: Those of them that ``dealt`` dealt, by run.
    """

    def __init__(self, design: Design, runs: int, strata: int) -> None:
        """Start at zero."""
        one = ShiryaevRobertsEDetector.tilted(design.p0, design.p1)
        q, self._w = np.array(one.q), np.array(one.w)
        self._factors = np.stack([(1 - q) / (1 - design.p0), q / design.p0])
        self._rows = np.arange(runs)
        self.m = np.zeros((runs, strata, len(q)))
        self.r = np.zeros((runs, strata))
        self.n = 0
        self.surveyed = np.zeros(runs, dtype=np.int64)

    def update(self, stratum: Ints, success: Bools) -> None:
        """Add one probe to each run: M <- (M + 1) LR."""
        at = self._rows, stratum
        now = (self.m[at] + 1) * self._factors[success.astype(np.int64)]
        self.m[at] = now
        self.r[at] = now @ self._w
        self.n += 1

    def hottest(self) -> tuple[Ints, Floats]:
        """Find the stratum of largest R in each run, and that R."""
        hot = self.r.argmax(axis=1)
        return hot, self.r[self._rows, hot]

    def restart(self, rows: Bools) -> None:
        """Set runs back to zero."""
        self.m[rows] = 0.0
        self.r[rows] = 0.0

    def keep(self, rows: Bools) -> None:
        """Drop the other runs."""
        self.m, self.r, self.surveyed = self.m[rows], self.r[rows], self.surveyed[rows]
        self._rows = np.arange(len(self.r))


Policy = Callable[[Runs, Floats], Ints]
"""Choose a stratum in each run, given a uniform number for each."""


def round_robin(state: Runs, uniform: Floats) -> Ints:
    """Probe one stratum after the other."""
    return np.full(len(uniform), state.n % state.r.shape[1], dtype=np.int64)


def adaptive(state: Runs, uniform: Floats) -> Ints:
    """Probe as the library's allocator does with equal shares: invert the distribution function."""
    strata = state.r.shape[1]
    hot, top = state.hottest()
    share = _EPSILON / strata
    beyond = np.maximum(uniform - (1 - _EPSILON), (hot + 0.5) * share)
    hunting = np.where(uniform < (hot + 1) * share, uniform, beyond) / share
    chosen = np.where(top > 1, hunting, uniform * strata)
    return np.minimum(chosen.astype(np.int64), strata - 1)


def dealt(state: Runs, uniform: Floats, *, above: float = 10.0) -> Ints:
    """Deal the survey's probes to one stratum after the other; hunt with the rest where R is above a level."""
    hot, top = state.hottest()
    survey = (top <= above) | (uniform < _EPSILON)
    chosen = np.where(survey, state.surveyed % state.r.shape[1], hot)
    state.surveyed += survey
    return chosen


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
    while state.n < most and len(alive):
        uniform = rng.random((2, len(alive)))
        stratum = policy(state, uniform[0])
        state.update(stratum, uniform[1] < rates[np.arange(len(alive)), stratum])
        fresh = ~ended & (state.r.sum(axis=1) >= gamma)
        if not fresh.any():
            continue
        lengths[alive[fresh]] = state.n
        ended |= fresh
        if ended.all() or ended.mean() > 1 - _ALIVE_MIN:
            state.keep(~ended)
            alive, rates, ended = alive[~ended], rates[~ended], ended[~ended]
    return lengths


def largest_gap(design: Design, strata: int, rate: float, probes: int, seed: int) -> float:
    """Hold one adaptive run, which starts anew at R = 1e6, against the library.

    Returns:
        The largest difference of log R.

    Raises:
        SystemExit: They differ by more than rounding, so the figures would be of something else.
    """
    rng = np.random.default_rng(seed)
    names = [str(i) for i in range(strata)]
    allocator = EpsilonGreedyAllocator(shares=dict.fromkeys(names, 1 / strata), epsilon=_EPSILON)
    detector = fresh = StratifiedEDetector(p0=design.p0, p1=design.p1)
    state, gap = Runs(design, 1, strata), 0.0
    for uniform in rng.random((probes, 2, 1)):
        stratum, success = adaptive(state, uniform[0]), uniform[1] < rate
        log_r = {name: one.log_r for name, one in detector.strata.items()}
        chosen = allocator.choose(allocator.probabilities(log_r), float(uniform[0, 0]))
        state.update(stratum, success)
        detector = detector.update(chosen, bool(success[0]))
        gap = max(gap, abs(math.log(state.r.sum()) - detector.log_r))
        if chosen != names[int(stratum[0])] or not gap <= _GAP_MAX:
            raise SystemExit(f"probe {state.n}: the recursion is not the library's any more ({gap=}, {chosen=})")
        if detector.log_r >= math.log(_RESTART):
            state.restart(np.ones(1, dtype=np.bool_))
            detector = fresh
    return gap
