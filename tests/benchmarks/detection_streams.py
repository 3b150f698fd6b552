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
    "CASES", "Bools", "Design", "Floats", "Ints", "Policy", "Runs", "adaptive", "by_lot", "largest_gap", "round_robin",
    "run_lengths", "runs_to_alarm",
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
        surveyed: Those of them that ``adaptive`` surveyed with, by run.
        slack: What the sum of min(R, gamma) could still have grown in mean at the null, by run: 1 a probe, less what
            it does grow by. E[T] = E[sum of min(R, gamma) at T] + E[slack] at every stopping time T.
    """

    def __init__(self, design: Design, runs: int, strata: int, gamma: float) -> None:
        """Start at zero; the alarm is raised at gamma."""
        one = ShiryaevRobertsEDetector.tilted(design.p0, design.p1)
        q, self._w = np.array(one.q), np.array(one.w)
        self._failure, self._success = (1 - q) / (1 - design.p0), q / design.p0
        self._p0, self._gamma = design.p0, gamma
        self._rows = np.arange(runs)
        self.m = np.zeros((runs, strata, len(q)))
        self.r = np.zeros((runs, strata))
        self.n = 0
        self.surveyed = np.zeros(runs, dtype=np.int64)
        self.slack = np.zeros(runs)

    def update(self, stratum: Ints, success: Bools) -> None:
        """Add one probe to each run: M <- M LR + x / p0, and a failure gets what a success would have above gamma."""
        at = self._rows, stratum
        before, r = self.m[at], self.r[at]
        up, down = before * self._success + 1 / self._p0, before * self._failure
        high, low = up @ self._w, down @ self._w
        spared = (high > self._gamma) & (r > 0) & (r < self._gamma)
        odds = self._p0 / (1 - self._p0)
        gift = np.divide((high - self._gamma) * odds, low, out=np.zeros_like(r), where=spared)
        after = np.where(success[:, None], up, down * (1 + gift)[:, None])
        mean = self._p0 * self._cut(high) + (1 - self._p0) * self._cut(low * (1 + gift))
        self.slack += self._cut(r) + 1 - mean
        self.m[at] = after
        self.r[at] = after @ self._w
        self.n += 1

    def _cut(self, r: Floats) -> Floats:
        cut: Floats = np.minimum(r, self._gamma)
        return cut

    def compensated(self) -> Floats:
        """Sum of min(R, gamma) and slack, of each run: the same mean as the probes so far have, at the null."""
        total: Floats = self._cut(self.r).sum(axis=1) + self.slack
        return total

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
        self.m, self.r, self.surveyed, self.slack = self.m[rows], self.r[rows], self.surveyed[rows], self.slack[rows]
        self._rows = np.arange(len(self.r))


Policy = Callable[[Runs, Floats], Ints]
"""Choose a stratum in each run, given a uniform number for each."""


def round_robin(state: Runs, uniform: Floats) -> Ints:
    """Probe one stratum after the other."""
    return np.full(len(uniform), state.n % state.r.shape[1], dtype=np.int64)


def by_lot(state: Runs, uniform: Floats) -> Ints:
    """Probe as the library's allocator draws with equal shares: invert the distribution function."""
    strata = state.r.shape[1]
    hot, top = state.hottest()
    share = _EPSILON / strata
    beyond = np.maximum(uniform - (1 - _EPSILON), (hot + 0.5) * share)
    hunting = np.where(uniform < (hot + 1) * share, uniform, beyond) / share
    chosen = np.where(top > 1, hunting, uniform * strata)
    return np.minimum(chosen.astype(np.int64), strata - 1)


def adaptive(state: Runs, uniform: Floats) -> Ints:
    """Probe as the library's allocator deals with equal shares: survey in turn, hunt where there is evidence."""
    hot, top = state.hottest()
    survey = (top <= 1) | (uniform < _EPSILON)
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
    return runs_to_alarm(design, rates, gamma, policy, rng, most=most)[0]


def runs_to_alarm(
    design: Design, rates: Floats, gamma: float, policy: Policy, rng: np.random.Generator, *, most: int = 10**7
) -> tuple[Ints, Floats]:
    """Do the same, and give ``Runs.compensated`` at the alarm: at the null it has the same mean and far less spread."""
    compensated = np.zeros(len(rates))
    lengths = np.full(len(rates), most, dtype=np.int64)
    alive = np.arange(len(rates))
    state = Runs(design, len(rates), rates.shape[1], gamma)
    ended = np.zeros(len(rates), dtype=np.bool_)
    while state.n < most and len(alive):
        uniform = rng.random((2, len(alive)))
        stratum = policy(state, uniform[0])
        state.update(stratum, uniform[1] < rates[np.arange(len(alive)), stratum])
        over = state.r.sum(axis=1) >= gamma
        if not over.any():
            continue
        fresh = over & ~ended
        lengths[alive[fresh]] = state.n
        compensated[alive[fresh]] = state.compensated()[fresh]
        state.restart(over)
        ended |= fresh
        if ended.all() or ended.mean() > 1 - _ALIVE_MIN:
            state.keep(~ended)
            alive, rates, ended = alive[~ended], rates[~ended], ended[~ended]
    return lengths, compensated


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
    detector = fresh = StratifiedEDetector(p0=design.p0, p1=design.p1, gamma_breach=_RESTART)
    state, gap, surveyed = Runs(design, 1, strata, _RESTART), 0.0, dict.fromkeys(names, 0)
    for uniform in rng.random((probes, 2, 1)):
        stratum, success = adaptive(state, uniform[0]), uniform[1] < rate
        log_r = {name: one.log_r for name, one in detector.strata.items()}
        chosen, survey = allocator.deal(log_r, surveyed, float(uniform[0, 0]))
        surveyed[chosen] += survey
        state.update(stratum, success)
        detector = detector.update(chosen, bool(success[0]))
        total = float(state.r.sum())
        gap = max(gap, abs(math.log(total) - detector.log_r) if total > 0 else math.exp(detector.log_r))
        if chosen != names[int(stratum[0])] or not gap <= _GAP_MAX:
            raise SystemExit(f"probe {state.n}: the recursion is not the library's any more ({gap=}, {chosen=})")
        if detector.log_r >= math.log(_RESTART):
            state.restart(np.ones(1, dtype=np.bool_))
            detector = fresh
    return gap
