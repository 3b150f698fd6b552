"""Exact one-sided tests of counts, and Holm's correction for several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from probes.statistics.beta import betainc
from probes.statistics.logs import require_rate

__all__ = ["binomial_above", "fisher_below", "holm"]


def binomial_above(successes: int, n: int, *, rate: float) -> float:
    """Exact binomial p-value against "the rate is at most ``rate``": P(X >= successes) for X ~ Bin(n, rate).

    Args:
        successes: 0 to n.
        rate: In [0, 1]; at 1 nothing is above it, and the p-value is 1.

    Returns:
        The p-value in [0, 1]; 1 where there is no success or no draw.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} draws")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate {rate} must lie in [0, 1]")
    return 1.0 if successes == 0 else betainc(successes, n - successes + 1, rate)


def fisher_below(successes: int, n: int, other: int, m: int) -> float:
    """Fisher's exact p-value against "the first rate is not below the second": P(X <= successes), margins fixed.

    X is hypergeometric (Fisher 1935): of ``successes + other`` marked among n + m draws, those among the first n.

    Args:
        successes: Of the first n draws.
        other: Successes of the second m draws.

    Returns:
        The p-value in [0, 1], 1 where either side has no draw.
    """
    if not (0 <= successes <= n and 0 <= other <= m):
        raise ValueError(f"{successes} of {n} against {other} of {m}")
    marked = successes + other
    ways = sum(math.comb(n, i) * math.comb(m, marked - i) for i in range(max(0, marked - m), successes + 1))
    return ways / math.comb(n + m, marked)


def holm(p_values: Sequence[float], *, alpha: float) -> tuple[bool, ...]:
    """Which hypotheses fall, with a chance of at most ``alpha`` that a true one is among them (Holm 1979).

    Holds for p-values that depend on each other in any way. The i-th smallest of m is held against alpha / (m - i + 1);
    at the first that passes it stops.
    """
    require_rate("alpha", alpha)
    fallen = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        fallen[i] = True
    return tuple(fallen)
