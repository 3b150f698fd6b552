"""The arithmetic of the benchmark: percentiles, ratios with intervals, what the peers' own outputs say. Pure."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

__all__ = ["added_ratio", "bootstrap", "garak_run", "inspect_run", "median_ratio", "percentile"]


def percentile(values: Sequence[float], share: float) -> float:
    """Return a quantile by linear interpolation between order statistics (Hyndman and Fan 1996, type 7).

    Args:
        values: At least one.
        share: In [0, 1]; 0.99 is p99.

    Raises:
        ValueError: There are no values, or no such share.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no {share:g} quantile of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def added_ratio(with_it: Sequence[float], without: Sequence[float], *, share: float = 0.99) -> float:
    """Return by how much a quantile is larger with something than without: 0.05 is 5 % more."""
    return percentile(with_it, share) / percentile(without, share) - 1


def bootstrap(
    with_it: Sequence[float],
    without: Sequence[float],
    *,
    figure: Callable[[Sequence[float], Sequence[float]], float] = added_ratio,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a percentile interval of a two-sample figure (Efron and Tibshirani 1993, chapter 13).

    Each sample is drawn anew by itself, with replacement.
    """
    rng = random.Random(seed)
    found = [figure(rng.choices(with_it, k=len(with_it)), rng.choices(without, k=len(without))) for _ in range(draws)]
    tail = (1 - confidence) / 2
    return percentile(found, tail), percentile(found, 1 - tail)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios, ours over theirs: what drifts from round to round cancels."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def garak_run(report: str) -> tuple[int, float | None]:
    """Read how many prompts garak asked, and how long its probe took by its own clock, out of its report (JSONL).

    Returns:
        Attempts that got an answer; seconds between the report's beginning and its end, ``None`` where it lacks them.
    """
    attempts, times = set[str](), dict[str, Any]()
    for line in report.splitlines():
        said = json.loads(line)
        kind = said.get("entry_type", "")
        if kind == "attempt" and any(said.get("outputs") or ()):
            attempts.add(str(said.get("uuid")))
        elif kind in {"init", "completion"}:
            times[kind] = said.get("start_time") or said.get("end_time")
    if len(times) < 2 or not all(isinstance(t, str) for t in times.values()):
        return len(attempts), None
    return len(attempts), _seconds(times["init"], times["completion"])


def inspect_run(log: str) -> tuple[int, float | None]:
    """Read how many samples inspect_ai completed and how long that took by its own clock, out of its log (JSON)."""
    said = json.loads(log)
    stats, results = said.get("stats") or {}, said.get("results") or {}
    done = int(results.get("completed_samples") or 0)
    began, ended = stats.get("started_at"), stats.get("completed_at")
    return done, _seconds(began, ended) if began and ended else None


def _seconds(began: str, ended: str) -> float | None:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    except (TypeError, ValueError):
        return None
