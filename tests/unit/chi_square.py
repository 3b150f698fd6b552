"""Whether counts fit what was expected."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from scipy.stats import chi2

Kind = TypeVar("Kind", bound=Hashable)


def fits(counts: Mapping[Kind, int], expected: Mapping[Kind, float]) -> bool:
    """Tell by Pearson's test at 1e-6, so that fixed seeds that fail are no accident."""
    if not set(counts) <= set(expected):
        return False
    statistic = sum((counts.get(kind, 0) - e) ** 2 / e for kind, e in expected.items())
    return bool(chi2.sf(statistic, len(expected) - 1) > 1e-6)
