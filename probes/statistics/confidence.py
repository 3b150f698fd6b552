"""Intervals: fixed-n for a finished sweep, anytime-valid for a gauge that is watched."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from probes.statistics.beta import betaincinv
from probes.statistics.logs import log_sum_exp, require_rate
from probes.statistics.roots import crossing

__all__ = ["SubBernoulliConfidenceSequence", "clopper_pearson", "running_bounds"]

_INTERVALS_KEPT = 4096
"""A scrape asks again for those of the one before."""


@lru_cache(_INTERVALS_KEPT)
def clopper_pearson(successes: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Exact two-sided interval for a binomial rate looked at once (Clopper & Pearson 1934).

    Args:
        successes: 0 to n.
        n: Probes; 0 gives (0, 1).
        alpha: 1 minus the confidence, split evenly.

    Returns:
        Lower and upper bound.
    """
    require_rate("alpha", alpha)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} probes")
    lower = 0.0 if successes == 0 else betaincinv(successes, n - successes + 1, alpha / 2)
    upper = 1.0 if successes == n else betaincinv(successes + 1, n - successes, 1 - alpha / 2)
    return lower, upper


def running_bounds(
    found: SubBernoulliConfidenceSequence, sampled: SubBernoulliConfidenceSequence
) -> tuple[float, float]:
    """Bounds of a rate of which some successes stay unseen, to be looked at any time.

    From below by what was found, which is at most what is there; from above by the part that is judged in full. Each
    holds with half the error (a union bound).
    """
    lower, _ = replace(found, alpha=found.alpha / 2).interval
    _, upper = replace(sampled, alpha=sampled.alpha / 2).interval
    return lower, max(lower, upper)


_ETAS = tuple(sign * 0.05 * (4 / 0.05) ** (j / 11) for sign in (-1, 1) for j in range(12))
_BETS: tuple[tuple[float, float], ...] = tuple((eta, math.expm1(eta)) for eta in _ETAS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubBernoulliConfidenceSequence:
    """Confidence sequence for the running conditional mean of values in [0, 1]; may be looked at any time.

    {m : log mean_j exp(eta_j S - n log(1 + m(e^eta_j - 1))) < log(1/alpha)} with 24 fixed eta; the mean may
    drift (Howard et al., Annals of Statistics 2021, sub-Bernoulli case). The set is an interval around S/n.

    Each e^eta is an odds ratio of the rate to m. Even weights over |eta| from .05 to 4 on a log scale make the interval
    1.4 to 1.8 times as wide as Wilson's for a single look, from 100 to 20,000 values at any rate. Weights that favour
    some sizes gain up to 6 % there and lose as much or more at others; the two eta that are best for one size and rate
    would gain 17 %.
    """

    alpha: float = 0.05
    n: int = 0
    total: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an alpha outside (0, 1)."""
        require_rate("alpha", self.alpha)

    def update(self, x: float) -> SubBernoulliConfidenceSequence:
        """Return the state after one more value in [0, 1]."""
        if not 0 <= x <= 1:
            raise ValueError(f"value {x} must lie in [0, 1]")
        return SubBernoulliConfidenceSequence(alpha=self.alpha, n=self.n + 1, total=self.total + x)

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound, (0, 1) before the first value."""
        if self.n == 0:
            return 0.0, 1.0
        mean = min(1.0, self.total / self.n)
        return self._edge(mean, 0.0), self._edge(mean, 1.0)

    def _edge(self, inside: float, outside: float) -> float:
        """Where the wealth reaches 1/alpha between a mean inside the set and an end of [0, 1], or that end."""
        if self._excess(outside) < 0:
            return outside
        return crossing(self._excess, inside, outside)

    def _excess(self, m: float) -> float:
        """Log wealth against m, less log(1/alpha)."""
        values = [eta * self.total - self.n * math.log1p(m * growth) for eta, growth in _BETS]
        return log_sum_exp(values) - math.log(len(values) / self.alpha)
