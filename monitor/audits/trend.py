"""Audits side by side, the oldest first: how each figure went. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monitor.audits.comparing import reasons
from monitor.audits.figures import SCALES, Figure
from monitor.audits.layout import TITLES, interval_words, number
from monitor.audits.plots import trend_svg
from probes.result import SafetyEstimate

__all__ = ["Point", "TrendLine", "breaks_of", "trend_json", "trend_of"]

_NOTHING = SafetyEstimate(value=None, lower=None, upper=None, n=0, missing=0, confidence=0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One audit's figure; ``breaks`` where it was measured in another way than the one before it."""

    estimate: SafetyEstimate
    words: str
    breaks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendLine:
    """One figure over audits, and its plot."""

    name: str
    points: tuple[Point, ...]
    plot: str


def trend_of(documents: Sequence[Mapping[str, Any]]) -> tuple[TrendLine, ...]:
    """Follow each figure in all and by category through audits.

    Args:
        documents: The oldest first.
    """
    found = [{f.key: f for f in map(Figure.from_json, d["figures"])} for d in documents]
    keys = dict.fromkeys(k for figures in found for k in figures if k[2] in {"all", "category"} and k[0] != "share_5")
    broken = {(i, suite) for i, suite, _ in breaks_of(documents)}
    lines = []
    for key in sorted(keys, key=lambda k: (list(SCALES).index(k[0]), k[2] != "all", k[1:])):
        measure, suite, group, named = key
        where = named if group == "category" else (suite or "all together")
        points = tuple(_point(figures.get(key), (i, suite) in broken) for i, figures in enumerate(found))
        name = f"{TITLES[measure]}, {where}"
        words = f"{name}: " + ", ".join(p.words for p in points)
        plot = trend_svg([p.estimate for p in points], SCALES[measure], words, breaks=[p.breaks for p in points])
        lines.append(TrendLine(name=name, points=points, plot=plot))
    return tuple(lines)


def breaks_of(documents: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Say where a suite was asked in another way than in the audit before: its place, the suite, and why."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    ways: dict[str, Mapping[str, Any]] = {}
    for i, document in enumerate(documents):
        for section in document["sections"]:
            before = ways.get(section["suite"])
            why = reasons(before, section) if before else ()
            if why:
                found.append((i, section["suite"], why))
            ways[section["suite"]] = section
    return tuple(found)


def _point(figure: Figure | None, breaks: bool) -> Point:
    if figure is None:
        return Point(estimate=_NOTHING, words="-", breaks=False)
    words = number(figure.measure, figure.estimate.value)
    if figure.estimate.value is not None:
        words += f" ({interval_words(figure.measure, figure.estimate)})"
    return Point(estimate=figure.estimate, words=words + (" *" if breaks else ""), breaks=breaks)


def trend_json(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the same in plain values."""
    return {
        "audits": [{k: d[k] for k in ("id", "target", "release", "began_at", "period")} for d in documents],
        "figures": [
            {"name": line.name, "estimates": [asdict(p.estimate) for p in line.points]} for line in trend_of(documents)
        ],
        "breaks": [
            {"audit": documents[i]["id"], "suite": suite, "why": list(why)} for i, suite, why in breaks_of(documents)
        ],
    }
