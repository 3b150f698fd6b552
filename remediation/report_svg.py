"""The plots of a patch's report: inline SVG whose colours are the page's own, so that it reads in light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from remediation.patch import LayerSpectrum

__all__ = ["bar_of", "curves_svg", "series_of", "spectrum_svg"]

_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 446, 14, 206


def bar_of(gate: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return where a gate's interval, value, limit and controls stand on a line from 0 to 100.

    A rate's line ends at 1; what goes beyond has a line of its own length. Controls in another unit (words, an ASR
    beside a loss) are left out. ``None`` where nothing was measured or there is no limit.
    """
    value, limit = gate.get("measured"), gate.get("limit")
    if value is None or limit is None:
        return None
    lower, upper = gate.get("lower"), gate.get("upper")
    controls = [c for name, c in (gate.get("control") or {}).items() if not name.startswith(("words", "ASR"))]
    end = max([1.0, *(1.1 * v for v in (value, limit, upper or 0.0, *controls) if v > 1)])
    interval = None if lower is None or upper is None else (100 * lower / end, 100 * upper / end)
    allowed = (100 * limit / end, 100.0) if gate.get("least") else (0.0, 100 * limit / end)
    return {
        "value": 100 * value / end, "limit": 100 * limit / end, "interval": interval, "allowed": allowed,
        "controls": [100 * c / end for c in controls], "end": end,
    }  # fmt: skip


def series_of(figures: Mapping[str, float | None], word: str) -> dict[str, list[tuple[float, float]]]:
    """Find the figures named ``what<word>number``, e.g. ``asr_at_dose_0.5``: points by what, in order."""
    found: dict[str, list[tuple[float, float]]] = {}
    pattern = re.compile(rf"(.+){re.escape(word)}(\d+(?:\.\d+)?)")
    for name, value in figures.items():
        if value is not None and (m := pattern.fullmatch(name)):
            found.setdefault(m[1], []).append((float(m[2]), float(value)))
    return {what: sorted(points) for what, points in sorted(found.items())}


def curves_svg(
    series: Mapping[str, Sequence[tuple[float, float]]], *, along: str, marked: float | None = None
) -> str:
    """Draw rates over doses or steps, evenly spaced in their order; ``marked`` is the one that was taken."""
    places = sorted({x for points in series.values() for x, _ in points})
    highest = max([1.0, *(y for points in series.values() for _, y in points)])

    def x_of(value: float) -> float:
        return _LEFT + 24 + (_RIGHT - _LEFT - 48) * (places.index(value) / max(1, len(places) - 1))

    def y_of(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * value / highest

    parts = [*_opening(f"{', '.join(series)} by {along}"), *_frame(0.0, highest)]
    if marked in places:
        at = x_of(marked)
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>')
    for i, (what, points) in enumerate(series.items()):
        placed = [(x_of(x), y_of(y)) for x, y in points]
        parts.append(f'<polyline class="s{i % 3}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in placed)}"/>')
        parts += [f'<circle class="s{i % 3}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in placed]
        words = what.replace("_", " ").replace("asr", "ASR")
        parts.append(_text(_LEFT + 24 + 150 * i, _HEIGHT - 4, words, f"key s{i % 3}"))
    parts += [_text(x_of(x), _BOTTOM + 16, f"{x:g}", "tick", anchor="middle") for x in places]
    parts.append(_text(_RIGHT, _HEIGHT - 4, along, "tick", anchor="end"))
    return "".join([*parts, "</svg>"])


def spectrum_svg(spectrum: Sequence[LayerSpectrum]) -> str:
    """Draw each matrix's CER over that of a random text of equal length; on the line they are the same."""
    values = [v for s in spectrum for v in (s.cer, s.cer_random)]
    low, high = max(0.0, min(values) - 0.02), min(1.0, max(values) + 0.02)

    def place(value: float, start: float, end: float) -> float:
        return start + (end - start) * (value - low) / (high - low)

    diagonal = f'<line class="mark" x1="{_LEFT}" x2="{_RIGHT}" y1="{_BOTTOM}" y2="{_TOP}"/>'
    parts = [*_opening("CER of the safety gradient against a random text's"), *_frame(low, high), diagonal]
    parts += [
        f'<circle class="s0" r="3" cx="{place(s.cer_random, _LEFT, _RIGHT):.1f}" '
        f'cy="{place(s.cer, _BOTTOM, _TOP):.1f}">'
        f"<title>{escape(s.module)}: {s.cer:.3f}, random {s.cer_random:.3f}</title></circle>"
        for s in spectrum
    ]
    parts.append(_text(_LEFT + 6, _TOP + 12, "CER of the example", "tick"))
    for share in (0.0, 0.5, 1.0):
        at = _LEFT + share * (_RIGHT - _LEFT)
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(_text(at, _BOTTOM + 16, f"{low + share * (high - low):.2f}", "tick", anchor=anchor))
    parts.append(_text((_LEFT + _RIGHT) / 2, _HEIGHT - 6, "CER of a random text", "tick", anchor="middle"))
    return "".join([*parts, "</svg>"])


def _opening(told: str) -> list[str]:
    return [f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(told)}">']


def _frame(low: float, high: float) -> list[str]:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _BOTTOM - share * (_BOTTOM - _TOP)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{low + share * (high - low):.2f}", "tick", anchor="end"))
    return parts


def _text(x: float, y: float, words: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
