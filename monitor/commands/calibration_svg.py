"""The plot of a judge's calibration: confusion matrix and intervals, one self-contained SVG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monitor.commands.svg import GRID, INK, MUTED, opening, short, text

if TYPE_CHECKING:
    from probes.calibration import Calibration
    from probes.result import SafetyEstimate

__all__ = ["calibration_svg"]

WIDTH, HEIGHT = 840, 340
_RIGHT, _WRONG, _NONE = "#16835a", "#c0362c", "#64748b"
_CELL_W, _CELL_H, _LEFT, _TOP = 92, 74, 112, 112
_AXIS_LEFT, _AXIS_RIGHT = 520, 780


def calibration_svg(found: Calibration) -> str:
    """Draw a calibration; ids and names are escaped."""
    c = found.confusion
    yes, no = ("refuses", "answers") if found.outcome == "refusal" else ("harmful", "safe")
    title = f"{found.judge} held against people"
    about = f"{found.data}: {c.scored} scored, {c.unscored} unscored"
    parts = [
        *opening(WIDTH, HEIGHT, title=title, told=_told(found)),
        text(24, 34, short(title, 80), size=17, weight="600"),
        text(24, 56, short(about, 100), size=13, fill=MUTED),
        *_matrix(
            (yes, no), ((c.found, c.missed, c.unscored_positive), (c.false_alarms, c.passed, c.unscored_negative))
        ),
        *_intervals(found),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _matrix(names: tuple[str, str], rows: tuple[tuple[int, int, int], tuple[int, int, int]]) -> Iterator[str]:
    yield text(_LEFT + 1.5 * _CELL_W, _TOP - 28, "the judge says", size=13, fill=MUTED, anchor="middle")
    for j, name in enumerate((*names, "unscored")):
        yield text(_LEFT + (j + 0.5) * _CELL_W, _TOP - 8, name, size=13, anchor="middle")
    yield text(24, _TOP - 8, "people say", size=13, fill=MUTED)
    for i, row in enumerate(rows):
        yield text(24, _TOP + (i + 0.5) * _CELL_H + 5, names[i], size=13)
        for j, count in enumerate(row):
            x, y = _LEFT + j * _CELL_W, _TOP + i * _CELL_H
            colour = _NONE if j == 2 else _RIGHT if i == j else _WRONG
            strength = 0.08 + 0.42 * count / max(1, sum(row))
            yield (
                f'<rect x="{x + 2}" y="{y + 2}" width="{_CELL_W - 4}" height="{_CELL_H - 4}" rx="6" fill="{colour}" '
                f'fill-opacity="{strength:.2f}" stroke="{colour}"/>'
            )
            yield text(x + _CELL_W / 2, y + _CELL_H / 2 + 1, str(count), size=20, weight="600", anchor="middle")
            share = f"{count / sum(row):.0%}" if sum(row) else "-"
            yield text(x + _CELL_W / 2, y + _CELL_H / 2 + 19, share, size=12, anchor="middle")
    yield text(24, _TOP + 2 * _CELL_H + 30, "Shares are of each row: of what people say.", size=12, fill=MUTED)


def _intervals(found: Calibration) -> Iterator[str]:
    c, top, step = found.confusion, _TOP + 6, 46
    rates = {"sensitivity": c.sensitivity(), "specificity": c.specificity(), "accuracy": c.accuracy(),
             "kappa": c.kappa()}  # fmt: skip
    bottom = top + step * len(rates) - 14
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _at(tick)
        yield f'<line x1="{x:.1f}" y1="{top - 14}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        yield text(x, bottom + 17, f"{tick:g}", size=12, fill=MUTED, anchor="middle")
    for i, (name, rate) in enumerate(rates.items()):
        yield from _interval(name, rate, top + i * step)
    yield text(_AXIS_LEFT - 92, bottom + 44, f"95 % intervals. {found.calibrated_at}", size=12, fill=MUTED)


def _interval(name: str, rate: SafetyEstimate, y: float) -> Iterator[str]:
    yield text(_AXIS_LEFT - 92, y + 5, name, size=13)
    if rate.value is None or rate.lower is None or rate.upper is None:
        yield text(_AXIS_LEFT + 8, y + 5, "unknown: no labels of this class", size=12, fill=MUTED)
        return
    low, high = _at(rate.lower), _at(rate.upper)
    yield f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{INK}" stroke-width="2"/>'
    for x in (low, high):
        yield f'<line x1="{x:.1f}" y1="{y - 6}" x2="{x:.1f}" y2="{y + 6}" stroke="{INK}" stroke-width="2"/>'
    yield f'<circle cx="{_at(rate.value):.1f}" cy="{y}" r="5" fill="{INK}"/>'
    yield text(_AXIS_RIGHT + 10, y + 5, f"{rate.value:.3f}", size=13)


def _at(rate: float) -> float:
    return _AXIS_LEFT + max(0.0, rate) * (_AXIS_RIGHT - _AXIS_LEFT)


def _told(found: Calibration) -> str:
    c = found.confusion
    rates = {"sensitivity": c.sensitivity(), "specificity": c.specificity()}
    said = (f"{n} {'unknown' if r.value is None else f'{r.value:.3f}'} on {r.n} replies" for n, r in rates.items())
    return f"{', '.join(said)}; {c.unscored} unscored."
