"""Small plots of an audit: an interval on its scale, a difference around 0, a trend. SVG, readable in light and dark.

Each part has a colour of its own as an attribute, for what prints takes no style of the page; on a screen the page's
style wins, by the part's class.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from probes.result import SafetyEstimate

__all__ = ["difference_svg", "interval_svg", "trend_svg"]

_WIDE, _HIGH, _PAD = 180.0, 16.0, 4.0
_AXIS, _BAR, _ZERO = "#9aa5b1", "#2f6fb3", "#5c6670"
_RANGE = f'stroke="{_BAR}" stroke-width="5" stroke-opacity="0.4"'


def interval_svg(estimate: SafetyEstimate, scale: tuple[float, float], words: str) -> str:
    """Draw a value and its interval between the ends of its scale; an empty text where there is no value.

    Args:
        words: What a screen reader says.
    """
    if estimate.value is None or estimate.lower is None or estimate.upper is None:
        return ""
    at = [_place(v, scale) for v in (estimate.lower, estimate.value, estimate.upper)]
    return _svg(words, [_line("axis", _PAD, _WIDE - _PAD, _AXIS, 1), *_mark(*at)])


def difference_svg(value: float, lower: float, upper: float, reach: float, words: str) -> str:
    """Draw a difference and its interval around 0, as far as ``reach`` to either side."""
    scale = (-reach, reach)
    at = [_place(min(max(v, -reach), reach), scale) for v in (lower, value, upper)]
    middle = _WIDE / 2
    zero = f'<line class="zero" x1="{middle}" x2="{middle}" y1="1" y2="{_HIGH - 1}" stroke="{_ZERO}" stroke-width="1"/>'
    return _svg(words, [_line("axis", _PAD, _WIDE - _PAD, _AXIS, 1), zero, *_mark(*at)])


def trend_svg(
    estimates: Sequence[SafetyEstimate], scale: tuple[float, float], words: str, *, breaks: Sequence[bool]
) -> str:
    """Draw one measure over audits, the oldest first, each with its interval.

    Args:
        breaks: For each, whether it can't be compared with the one before: the line does not lead there.
    """
    wide, high, pad = 320.0, 90.0, 10.0
    step = (wide - 2 * pad) / max(len(estimates) - 1, 1)

    def height(value: float) -> float:
        low, top = scale
        return high - pad - (high - 2 * pad) * (value - low) / (top - low)

    known = [(pad + i * step, e) for i, e in enumerate(estimates) if e.value is not None]
    parts = [
        f'<line class="axis" x1="{pad:.1f}" x2="{wide - pad:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_AXIS}" '
        'stroke-width="0.5"/>'
        for y in (pad, high / 2, high - pad)
    ]
    places = [(pad + i * step, e.value, apart) for i, (e, apart) in enumerate(zip(estimates, breaks, strict=True))]
    for (x1, first, _), (x2, second, apart) in pairwise(places):
        if first is not None and second is not None and not apart:
            parts.append(
                f'<line class="trend" x1="{x1:.1f}" x2="{x2:.1f}" y1="{height(first):.1f}" y2="{height(second):.1f}" '
                f'stroke="{_BAR}" stroke-width="1.2"/>'
            )
    for x, e in known:
        low, top = height(e.lower or scale[0]), height(scale[1] if e.upper is None else e.upper)
        parts.append(
            f'<line class="range" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{top:.1f}" stroke="{_BAR}" '
            'stroke-width="4" stroke-opacity="0.4"/>'
        )
        parts.append(f'<circle class="point" cx="{x:.1f}" cy="{height(e.value or 0.0):.1f}" r="2.8" fill="{_BAR}"/>')
    return _svg(words, parts, wide, high)


def _place(value: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return _PAD + (_WIDE - 2 * _PAD) * (value - low) / (high - low)


def _mark(low: float, middle: float, high: float) -> tuple[str, ...]:
    y = _HIGH / 2
    return (
        f'<line class="range" x1="{low:.1f}" x2="{max(high, low + 1):.1f}" y1="{y}" y2="{y}" {_RANGE}/>',
        f'<rect class="point" x="{middle - 1.25:.2f}" y="2" width="2.5" height="{_HIGH - 4}" fill="{_BAR}"/>',
    )  # fmt: skip


def _line(name: str, x1: float, x2: float, colour: str, width: float) -> str:
    y = _HIGH / 2
    return f'<line class="{name}" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="{width}"/>'


def _svg(words: str, parts: Sequence[str], wide: float = _WIDE, high: float = _HIGH) -> str:
    label = f'role="img" aria-label="{escape(words)}"'
    size = f'viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>{"".join(parts)}</svg>'
