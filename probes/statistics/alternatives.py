"""Alternatives above a null rate, mixed: what one outcome says for each of them.

Each function keeps its answers, for a daemon asks the same few questions at each probe.
"""

from __future__ import annotations

import math
from functools import lru_cache

from probes.statistics.logs import expit, logit, require_rate

__all__ = ["log_factors", "log_weights", "tilted_grid"]


@lru_cache(maxsize=1024)
def tilted_grid(p1: float, *, top: float = 0.9) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Alternatives (p1, mid, top) with weights (.5, .25, .25); mid halves the way on the logit scale.

    Args:
        p1: The smallest rate that must be found quickly, in (0, 1).
        top: The largest, in (0, 1); at least p1 is taken.

    Returns:
        Alternatives and their weights.
    """
    require_rate("p1", p1)
    require_rate("top", top)
    top = max(top, p1)
    mid = expit((logit(p1) + logit(top)) / 2)
    return (p1, mid, top), (0.5, 0.25, 0.25)


@lru_cache(maxsize=4096)
def log_weights(p0: float, q: tuple[float, ...], w: tuple[float, ...]) -> tuple[float, ...]:
    """Logs of a mixture's weights, once for each mixture, since each mixture is checked here.

    Raises:
        ValueError: p0 or an alternative is no rate, an alternative is not above p0, or the weights are not positive
            numbers that sum to 1, one for each alternative.
    """
    require_rate("p0", p0)
    if not q or len(q) != len(w) or not all(v > 0 for v in w) or not math.isclose(math.fsum(w), 1.0):
        raise ValueError(f"alternatives {q} need as many weights, positive and of sum 1, got {w}")
    for alternative in q:
        require_rate("q", alternative)
        if alternative <= p0:
            raise ValueError(f"alternative q = {alternative} must be above p0 = {p0}")
    return tuple(math.log(v) for v in w)


@lru_cache(maxsize=4096)
def log_factors(p0: float, q: tuple[float, ...], x: float) -> tuple[float, ...]:
    """Log of the factor by which an outcome multiplies the evidence for each alternative.

    The factor is 1 + lam (x - p0), lam = (q - p0)/(p0(1 - p0)): the likelihood ratio q/p0 at x = 1 and
    (1-q)/(1-p0) at x = 0, and the straight line through both elsewhere. lam < 1/p0 as q < 1, so that it is positive
    for every x >= 0, and its mean is at most 1 wherever E[x | past] <= p0.

    Args:
        p0: Largest rate under the null.
        q: Alternatives above p0.
        x: 0 or 1, or the weighed outcome of a cascade of judges: not negative, its mean is the rate.

    Raises:
        ValueError: x is negative or not finite.
    """
    if not 0 <= x < math.inf:
        raise ValueError(f"outcome {x} must be a finite number of at least 0; leave missing probes out")
    return tuple(math.log(x * (r / p0) + (1 - x) * ((1 - r) / (1 - p0))) for r in q)
