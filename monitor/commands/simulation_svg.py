"""The plot of a simulation: the share of drifts found against the time since the drift, one self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monitor.commands.svg import GRID, INK, MUTED, opening, short, text

__all__ = ["Curve", "duration", "simulation_svg"]

WIDTH, HEIGHT = 840, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 812, 92, 372
_LINES = (("#94a3b8", 6.0), ("#2563eb", 3.5), ("#c0362c", 1.8))
"""Colour and width; a later curve lies on an earlier one, and both are seen where they meet."""
_TICK_APART = 62.0
"""Least distance of two ticks, so that their labels don't meet."""
_POINTS = 240
_MARKED, _WORDS = (0.5, 0.9), 212.0
"""Shares that are marked on the last curve, and the room for the words beside a mark."""
_UNITS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86_400.0, "d"))
_TICKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800,
          345_600, 864_000, 1_728_000, 3_456_000, 8_640_000, 17_280_000, 31_536_000)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What was reached when, in seconds since the drift; infinity where it was not."""

    name: str
    seconds: Sequence[float]


def duration(seconds: float) -> str:
    """Write a length of time with one unit, e.g. ``90 s``, ``4.6 min`` or ``3 d``."""
    if not math.isfinite(seconds):
        return "never"
    size, unit = next((u for u in reversed(_UNITS) if seconds >= u[0]), _UNITS[0])
    value = seconds / size
    return f"{value:.1f}".removesuffix(".0") + f" {unit}" if value < 10 else f"{value:,.0f} {unit}"


def simulation_svg(curves: Sequence[Curve], *, title: str, about: str, note: str) -> str:
    """Draw the curves on a logarithmic axis of time; the last is marked at one half and at nine tenths."""
    low, high = _range(curves)
    told = "; ".join(
        f"{c.name}: half within {duration(_at(c, 0.5))}, 90 % within {duration(_at(c, 0.9))}" for c in curves
    )
    parts = [
        *opening(WIDTH, HEIGHT, title=title, told=told),
        text(24, 34, short(title, 80), size=17, weight="600"),
        text(24, 56, short(about, 120), size=13, fill=MUTED),
        *_axes(low, high),
        *(line for c, look in zip(curves, _LINES, strict=False) for line in _curve(c, look, low, high)),
        *_marks(curves[-1], low, high),
        *_legend(curves),
        text(24, HEIGHT - 18, short(note, 130), size=12, fill=MUTED),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the ends of the axis of time, with room for the words at nine tenths of the last curve."""
    finite = [s for c in curves for s in c.seconds if math.isfinite(s)] or [1.0]
    low, high = max(0.5, min(finite)) / 1.3, max(1.0, *finite) * 1.3
    marked = max((s for s in (_at(curves[-1], share) for share in _MARKED) if math.isfinite(s)), default=low)
    return low, max(high, low * (max(marked, low) / low) ** ((_RIGHT - _LEFT) / (_RIGHT - _LEFT - _WORDS)))


def _axes(low: float, high: float) -> Iterator[str]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}" stroke="{GRID}"/>'
        yield text(_LEFT - 10, y + 4, f"{share:.0%}".replace("%", " %"), size=12, fill=MUTED, anchor="end")
    last = -math.inf
    for tick in _TICKS:
        x = _x(tick, low, high)
        if low <= tick <= high and x - last >= _TICK_APART:
            last = x
            yield f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_BOTTOM}" stroke="{GRID}"/>'
            yield text(x, _BOTTOM + 18, duration(tick), size=12, fill=MUTED, anchor="middle")
    yield f'<line x1="{_LEFT}" y1="{_BOTTOM}" x2="{_RIGHT}" y2="{_BOTTOM}" stroke="{INK}"/>'
    yield text((_LEFT + _RIGHT) / 2, _BOTTOM + 40, "time since the drift (logarithmic)", size=13, anchor="middle")
    yield text(24, _TOP - 14, "share of simulated drifts", size=13)


def _curve(curve: Curve, look: tuple[str, float], low: float, high: float) -> Iterator[str]:
    """A step for each run, thinned out; what was never reached leaves the curve under 100 %."""
    n, found = len(curve.seconds), sorted(s for s in curve.seconds if math.isfinite(s))
    if not found:
        return
    kept = sorted({round(i * (len(found) - 1) / (_POINTS - 1)) for i in range(_POINTS)})
    points = [f"{_x(found[0], low, high):.1f},{_y(0.0):.1f}"]
    points += [f"{_x(found[i], low, high):.1f},{_y((i + 1) / n):.1f}" for i in kept]
    points.append(f"{_RIGHT},{_y(len(found) / n):.1f}")
    yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{look[0]}" stroke-width="{look[1]}"/>'


def _marks(curve: Curve, low: float, high: float) -> Iterator[str]:
    for share in _MARKED:
        seconds = _at(curve, share)
        if not math.isfinite(seconds):
            continue
        x, y = _x(seconds, low, high), _y(share)
        said = f"{share:.0%} {curve.name} in {duration(seconds)}".replace("%", " %")
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{INK}"/>'
        yield text(x + 10, y + 18, said, size=13, weight="600")


def _legend(curves: Sequence[Curve]) -> Iterator[str]:
    x = float(_RIGHT)
    for i, curve in reversed(list(enumerate(curves))):
        x -= 7.2 * len(curve.name) + 12
        yield text(x, _TOP - 14, curve.name, size=13)
        stroke = f'stroke="{_LINES[i % 3][0]}" stroke-width="{_LINES[i % 3][1]}"'
        yield f'<line x1="{x - 28:.1f}" y1="{_TOP - 18}" x2="{x - 7:.1f}" y2="{_TOP - 18}" {stroke}/>'
        x -= 34


def _at(curve: Curve, share: float) -> float:
    return sorted(curve.seconds)[max(0, math.ceil(share * len(curve.seconds)) - 1)]


def _x(seconds: float, low: float, high: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * math.log(max(seconds, low) / low) / math.log(high / low)


def _y(share: float) -> float:
    return _BOTTOM - share * (_BOTTOM - _TOP)
