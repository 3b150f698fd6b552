"""How much a rate or a mean has changed, with an interval: between the same prompts, or between two samples.

Prompts that are asked twice take their difficulty out of the comparison, so that the interval of pairs is the shorter
one. All of it is for a number of pairs that was fixed before; who looks after each pair takes ``paired`` instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from probes.statistics.betting import BettingConfidenceSequence
from probes.statistics.logs import require_rate

__all__ = ["independent_difference", "matched_difference", "mean_difference"]

_STEPS = 80


def matched_difference(gained: int, lost: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Bound the change of a rate over ``n`` pairs: Tango's score interval (Statistics in Medicine 17, 1998).

    All d for which |gained - lost - n d| / sqrt(n (2 q + d (1 - d))) <= z, where q is the most likely share of lost
    pairs under a change of d. At d = 0 it is McNemar's test. Unlike Wald's it holds where few pairs change, or none.
    Coverage of 60 pairs at 95 %, by exact count: .935 to .97.

    Args:
        gained: Pairs that came to be positive.
        lost: Pairs that ceased to be.
        n: All pairs, at least 1.

    Returns:
        Lower and upper bound, in [-1, 1].
    """
    require_rate("alpha", alpha)
    if not (n > 0 <= min(gained, lost) and gained + lost <= n):
        raise ValueError(f"{gained} gained and {lost} lost of {n} pairs: a part can't be larger than its whole")
    z = NormalDist().inv_cdf(1 - alpha / 2)
    value = (gained - lost) / n

    def edge(outside: float) -> float:
        inside = value
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            beyond = abs(_score(gained, lost, n, middle)) > z
            inside, outside = (inside, middle) if beyond else (middle, outside)
        return outside

    return edge(-1.0), edge(1.0)


def mean_difference(differences: Sequence[float], reach: float, *, alpha: float = 0.05) -> tuple[float, float]:
    """Bound the mean of paired differences in [-reach, reach], e.g. of scores: by betting, with no law assumed.

    ``BettingConfidenceSequence``: it adapts to the spread, which Hoeffding's interval does not.
    """
    state = BettingConfidenceSequence(alpha=alpha, lower=-reach, upper=reach)
    for difference in differences:
        state = state.update(difference)
    return state.interval


def independent_difference(
    before: tuple[float, float, float], after: tuple[float, float, float]
) -> tuple[float, float]:
    """Bound the change between two samples by their own intervals (MOVER; Zou & Donner, Statistics in Medicine 2008).

    Args:
        before: Value, lower and upper bound of the first.
        after: The same of the second, at the same confidence.
    """
    (v0, l0, u0), (v1, l1, u1) = before, after
    return v1 - v0 - math.hypot(v1 - l1, u0 - v0), v1 - v0 + math.hypot(u1 - v1, v0 - l0)


def _score(gained: int, lost: int, n: int, d: float) -> float:
    off = gained - lost - n * d
    b = -gained - lost + (2 * n - gained + lost) * d
    c = -lost * d * (1 - d)
    q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    spread = n * (2 * q + d * (1 - d))
    return off / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, off) if off else 0.0
