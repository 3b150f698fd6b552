"""The plot of an incident's evidence over its probes, with thresholds, phases and verdicts: one self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from monitor.commands.svg import GRID, INK, MUTED, opening, short, text
from monitor.explaining import Explanation, amount
from monitor.plain_text import plain
from monitor.tracing import Point, Trace
from monitor.watch import SURVEY, Phase

__all__ = ["evidence_svg"]

WIDTH, HEIGHT = 900, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 876, 118, 400
_LANES = {"survey": 422, "hunt": 440, "sentinel": 458}
_WARN, _BREACH = "#b45309", "#c0362c"
_SHADE = {Phase.BURST: "#fde68a", Phase.BREACH: "#fecaca"}
_SURVEY, _STRATA, _PART = "#2563eb", "#7c3aed", "#0f8a6a"
_LOG_TEN = math.log(10)
_FLOOR = -1.0
"""Lowest decade shown: evidence under 0.1 is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Where a probe and its evidence stand."""

    first: int
    last: int
    top: float

    def x(self, position: float) -> float:
        """Return the place of a probe."""
        return _LEFT + (position - self.first + 0.5) / (self.last - self.first + 1) * (_RIGHT - _LEFT)

    def y(self, log_value: float) -> float:
        """Return the height of evidence, cut off where it is next to nothing."""
        decades = max(_FLOOR, log_value / _LOG_TEN)
        return _BOTTOM - (decades - _FLOOR) / (self.top - _FLOOR) * (_BOTTOM - _TOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """One part of the evidence."""

    words: str
    colour: str
    height: Callable[[Point], float]
    width: float = 1.5
    dashes: str = "none"


def evidence_svg(found: Explanation) -> str:
    """Draw the path of an incident's evidence; ids and names are escaped.

    Raises:
        ValueError: There is no path to draw.
    """
    trace = found.trace
    if trace is None or not trace.window:
        raise ValueError(f"incident {found.incident.id}: the log gives no path of its evidence")
    points, rates = trace.window, trace.alarm.rates
    highest = max(math.log(rates.gamma_breach), *(max(p.log_r, p.log_part) for p in points))
    frame = _Frame(first=points[0].position, last=points[-1].position, top=highest / _LOG_TEN + 0.6)
    title = f"Why {plain(found.incident.id)} fired"
    parts = [
        *opening(WIDTH, HEIGHT, title=title, told=f"{plain(found.headline, most=400)}. {_told(trace)}"),
        text(24, 34, short(title, 80), size=17, weight="600"),
        text(24, 56, short(plain(found.headline, most=400), 124), size=13, fill=MUTED),
        *_phases(points, frame),
        *_decades(frame),
        *_threshold("warn", rates.gamma_warn, _WARN, frame),
        *_threshold("breach", rates.gamma_breach, _BREACH, frame),
        *_marks(trace, frame),
        *_lines(trace, points, frame),
        *_verdicts(points, frame),
        text(24, HEIGHT - 16, _caption(trace), size=12, fill=MUTED),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _phases(points: tuple[Point, ...], frame: _Frame) -> Iterator[str]:
    for phase, group in groupby(points, key=lambda p: p.phase):
        if phase in _SHADE:
            run = [p.position for p in group]
            left, right = frame.x(run[0] - 0.5), frame.x(run[-1] + 0.5)
            yield (
                f'<rect x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{_BOTTOM - _TOP}" '
                f'fill="{_SHADE[phase]}" fill-opacity="0.45"/>'
            )


def _decades(frame: _Frame) -> Iterator[str]:
    step = max(1, math.ceil((frame.top - _FLOOR) / 9))
    for decade in range(0, math.floor(frame.top) + 1, step):
        y = frame.y(decade * _LOG_TEN)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}" stroke="{GRID}" stroke-width="0.7"/>'
        yield text(_LEFT - 8, y + 4, amount(decade * _LOG_TEN), size=12, fill=MUTED, anchor="end")
    yield f'<line x1="{_LEFT}" y1="{_BOTTOM}" x2="{_RIGHT}" y2="{_BOTTOM}" stroke="{INK}"/>'
    yield text(24, _TOP - 8, "evidence", size=12, fill=MUTED)


def _threshold(name: str, gamma: float, colour: str, frame: _Frame) -> Iterator[str]:
    y = frame.y(math.log(gamma))
    yield (
        f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}" stroke="{colour}" stroke-width="1.5" '
        'stroke-dasharray="7 4"/>'
    )
    yield text(_LEFT + 6, y - 5, f"{name} at {amount(math.log(gamma))}", size=12, fill=colour, weight="600")


def _marks(trace: Trace, frame: _Frame) -> Iterator[str]:
    if not trace.rise:
        return
    middle = (_LEFT + _RIGHT) / 2
    for point, words, y in ((trace.rise[0], "begins to rise", _TOP - 8), (trace.rise[-1], "fires", _BOTTOM - 10)):
        x = frame.x(point.position)
        yield (
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_LANES["sentinel"] + 8}" stroke="{MUTED}" '
            'stroke-dasharray="2 3"/>'
        )
        shift, anchor = (6, "start") if x < middle else (-6, "end")
        yield text(x + shift, y, f"{words}, {point.at:%m-%d %H:%M} UTC", size=12, anchor=anchor)


def _lines(trace: Trace, points: tuple[Point, ...], frame: _Frame) -> Iterator[str]:
    curves = [_Curve(words="all evidence", colour=INK, width=2.6, height=lambda p: p.log_r)]
    if trace.alarm.nulls:
        curves = [
            _Curve(words="suite as a whole", colour=_SURVEY, height=lambda p: p.log_survey),
            _Curve(words="strata together", colour=_STRATA, height=lambda p: p.log_strata),
            *curves,
        ]
    if any(p.log_part > -math.inf for p in points):
        name = next(part.name for part in trace.parts if part.name != SURVEY)
        curves.append(_Curve(words=short(plain(name), 30), colour=_PART, dashes="6 4", height=lambda p: p.log_part))
    x = float(_LEFT)
    for curve in curves:
        path = " ".join(f"{frame.x(p.position):.1f},{frame.y(curve.height(p)):.1f}" for p in points)
        stroke = f'stroke="{curve.colour}" stroke-width="{curve.width}" stroke-dasharray="{curve.dashes}"'
        yield f'<polyline points="{path}" fill="none" {stroke}/>'
        yield f'<line x1="{x:.0f}" y1="80" x2="{x + 24:.0f}" y2="80" {stroke}/>'
        yield text(x + 30, 84, curve.words, size=12)
        x += 54 + 6.6 * len(curve.words)


def _verdicts(points: tuple[Point, ...], frame: _Frame) -> Iterator[str]:
    streams = {p.stream for p in points}
    for stream, y in _LANES.items():
        yield text(_LEFT - 8, y + 4, stream, size=12, fill=MUTED if stream in streams else GRID, anchor="end")
    for p in points:
        x, y = frame.x(p.position), _LANES.get(p.stream, _LANES["survey"])
        if p.harmful:
            yield f'<rect x="{x - 1.2:.1f}" y="{y - 7}" width="2.4" height="14" fill="{_BREACH}"/>'
        elif p.harmful is None:
            yield f'<circle cx="{x:.1f}" cy="{y}" r="2.6" fill="none" stroke="{MUTED}"/>'
        else:
            yield f'<circle cx="{x:.1f}" cy="{y}" r="1.1" fill="{MUTED}" fill-opacity="0.55"/>'


def _caption(trace: Trace) -> str:
    shown = trace.window
    mean = " All evidence is the mean of suite and strata." if trace.alarm.nulls else ""
    return (
        f"Probes {shown[0].position:,} to {shown[-1].position:,} of the epoch. Bar: harmful; dot: safe; ring: no "
        f"verdict. Shaded: burst, breach.{mean}"
    )


def _told(trace: Trace) -> str:
    if not trace.rise:
        return "The evidence does not rise in this log."
    rise = trace.rise
    harmful = sum(bool(p.harmful) for p in rise)
    return f"It rises from probe {rise[0].position} to probe {rise[-1].position}, {harmful} of {len(rise)} harmful."
