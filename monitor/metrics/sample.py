"""What a metric is, and samples of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["Exemplar", "Metrics", "Samples", "log_of", "moment"]

Metrics = Mapping[str, tuple[str, tuple[str, ...]]]
"""Help and labels by metric; a name ends in ``_total`` where it is a counter, all others are gauges."""


class Exemplar(NamedTuple):
    """What a counter counted last.

    Attributes:
        labels: What names it; OpenMetrics allows 128 characters in all.
        at: Unix time in seconds.
    """

    labels: tuple[tuple[str, str], ...]
    at: float


class Samples(NamedTuple):
    """What has one set of labels: most of a target's metrics share theirs with others.

    Attributes:
        labels: Their values, in the order in which these metrics name them.
        values: By metric; what is ``None`` is not known and not exported.
        exemplars: Of the counters among them.
    """

    labels: tuple[str, ...]
    values: Mapping[str, float | None]
    exemplars: Mapping[str, Exemplar] = MappingProxyType({})


def moment(text: str) -> float:
    """Return an ISO time as Unix time in seconds."""
    return datetime.fromisoformat(text).timestamp()


def log_of(value: float | None) -> float:
    """Return the log of no evidence as minus infinity, which plain values can't hold."""
    return -math.inf if value is None else value
