"""Bets on a mean that does not move: scores from 1 to 5, means of sweeps, weighed outcomes.

A fair bet's wealth is evidence against the mean it was fair for (Waudby-Smith & Ramdas, Journal of the Royal
Statistical Society B 2024, arXiv 2010.09686). Bets are fixed fractions of the largest that cannot go broke, spread
evenly over a grid: no bet has to be tuned and none looks ahead. Missing values are left out before they get here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from probes.statistics.logs import log_sum_exp, require_rate
from probes.statistics.roots import crossing

__all__ = ["BettingConfidenceSequence", "BettingEProcess"]

_FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_F = np.array(_FRACTIONS)[:, None]
_EDGE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class BettingEProcess:
    """Evidence against a mean of at most ``m0``, or of at least ``m0``, in values from 0 to ``upper``.

    E = mean_f prod_t (1 + l_f (x_t - m0)) over f = .02 ... .9, where l_f = f / m0 against "at most m0" and
    l_f = -f / (upper - m0) against "at least m0". The first needs no upper bound: ``upper`` may be infinite. Valid
    where the mean given the past keeps to that side of m0 on each occasion, however it moves there.

    Attributes:
        m0: The mean under test, in (0, upper).
        upper: Largest possible value: 1 for rates, 1 / rho for the outcomes of an ``AIPWJudgeCascade``.
        above: Whether large values are evidence (null "at most m0"), or small ones.
        log_wealth: Log wealth of each bet.
    """

    m0: float
    upper: float = 1.0
    above: bool = True
    n: int = 0
    log_wealth: tuple[float, ...] = (0.0,) * len(_FRACTIONS)

    def __post_init__(self) -> None:
        """Refuse means that no value can lie on both sides of, and a bet on small values without a bound."""
        if not 0 < self.m0 < self.upper or math.isinf(self.m0):
            raise ValueError(f"m0 = {self.m0} must lie between 0 and the largest value, {self.upper}")
        if not self.above and math.isinf(self.upper):
            raise ValueError("upper must be finite to bet on values below m0; give the largest possible value")

    def update(self, x: float) -> BettingEProcess:
        """Return the state after one more value in [0, upper]."""
        if not 0 <= x <= self.upper or math.isinf(x):
            raise ValueError(f"value {x} must lie in [0, {self.upper}]; leave missing values out")
        gain = (x - self.m0) / self.m0 if self.above else (self.m0 - x) / (self.upper - self.m0)
        bets = zip(_FRACTIONS, self.log_wealth, strict=True)
        return replace(self, n=self.n + 1, log_wealth=tuple(m + math.log1p(f * gain) for f, m in bets))

    @property
    def log_e(self) -> float:
        """Natural log of the e-value."""
        return log_sum_exp(self.log_wealth) - math.log(len(_FRACTIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class BettingConfidenceSequence:
    """Confidence sequence for a mean that stays, of values in [lower, upper]; may be looked at any time.

    {m : log mean_f prod_t (1 + l (x_t - m)) < log(1/alpha)} over l = f / m and l = -f / (1 - m), f = .02 ... .9, values
    and m scaled to [0, 1]. The wealth is convex in m and at most 1 at the mean of the values, so the set is an interval
    around that mean. It adapts to the spread, which ``SubBernoulliConfidenceSequence`` does not; but its bets depend on
    m, so it covers only a mean that stays the same. Where the rate may drift, take the other one.

    For the mean of scores from 1 to 5: lower 1, upper 5. For the terms of a ``HorvitzThompson``: upper 1 / epsilon. For
    the outcomes of an ``AIPWJudgeCascade``: upper 1 / rho.

    Attributes:
        alpha: 1 minus the confidence.
        lower: Smallest possible value.
        upper: Largest possible value.
        counts: How often each value came; short where values are few, as scores are.
    """

    alpha: float = 0.05
    lower: float = 0.0
    upper: float = 1.0
    n: int = 0
    counts: Mapping[float, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an alpha outside (0, 1) and bounds in the wrong order."""
        require_rate("alpha", self.alpha)
        if not -math.inf < self.lower < self.upper < math.inf:
            raise ValueError(f"need finite bounds in order, got lower = {self.lower}, upper = {self.upper}")

    def update(self, x: float) -> BettingConfidenceSequence:
        """Return the state after one more value in [lower, upper]."""
        if not self.lower <= x <= self.upper:
            raise ValueError(f"value {x} must lie in [{self.lower}, {self.upper}]; leave missing values out")
        value = float(x)
        return replace(self, n=self.n + 1, counts={**self.counts, value: self.counts.get(value, 0) + 1})

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound of the mean; all of [lower, upper] before the first value."""
        if self.n == 0:
            return self.lower, self.upper
        width = self.upper - self.lower
        y = (np.array(list(self.counts), dtype=np.float64) - self.lower) / width
        times = np.array(list(self.counts.values()), dtype=np.float64)
        mean = min(max(float(y @ times) / self.n, _EDGE), 1 - _EDGE)
        low, high = (self._bound(y, times, mean, edge) for edge in (_EDGE, 1 - _EDGE))
        return self.lower + width * low, self.lower + width * high

    def _bound(self, y: npt.NDArray[np.float64], times: npt.NDArray[np.float64], mean: float, edge: float) -> float:
        """Where the wealth reaches 1/alpha between the mean and the edge, or the edge itself."""

        def excess(m: float) -> float:
            up = np.log1p(_F * (y / m - 1)) @ times
            down = np.log1p(_F * ((1 - y) / (1 - m) - 1)) @ times
            return log_sum_exp((*up.tolist(), *down.tolist())) - math.log(2 * len(_FRACTIONS) / self.alpha)

        if excess(edge) < 0:
            return round(edge)
        return crossing(excess, mean, edge)
