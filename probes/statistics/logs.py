"""Arithmetic in logs and odds that the statistics share, and the check of a rate."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["expit", "log1p_exp", "log_sum_exp", "logit", "require_rate"]


def require_rate(name: str, value: float) -> None:
    """Refuse what is no rate.

    Raises:
        ValueError: The value is 0 or less, 1 or more, or no number.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} = {value} must lie in (0, 1)")


def logit(p: float) -> float:
    """Log odds of a rate in (0, 1)."""
    return math.log(p) - math.log1p(-p)


def expit(x: float) -> float:
    """Rate of log odds, without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    odds = math.exp(x)
    return odds / (1 + odds)


def log1p_exp(x: float) -> float:
    """log(1 + e^x) without overflow; 0 at minus infinity."""
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def log_sum_exp(values: Iterable[float]) -> float:
    """log(sum e^v) without overflow; minus infinity of nothing and of minus infinities."""
    terms = tuple(values)
    top = max(terms, default=-math.inf)
    return top if math.isinf(top) else top + math.log(sum([math.exp(v - top) for v in terms]))
