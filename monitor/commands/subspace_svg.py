"""The plot of a living subspace: categories beside controls, by depth, and over time; one self-contained SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from monitor.commands.subspace_tables import averaged, block_of, latest, newcomers, subspace_words
from monitor.commands.svg import GRID, GROUND, INK, MUTED, opening, short, text

if TYPE_CHECKING:  # so that `--help` stays quick
    from remediation.living_subspace import ModuleCoverage, Shares, SubspaceSummary

__all__ = ["subspace_html", "subspace_svg"]

WIDTH = 960
_LEFT, _RIGHT, _TOP, _ROW = 250, 930, 128, 26
_PANEL = 210
"""Height of a lower panel's plot."""
_GAP = 84
"""From the categories to the lower panels' plots."""
_REQUESTS = "#2563eb"
_COLOURS = {
    "harmless, refused": "#b45309",
    "harmless, answered": "#0f8a6a",
    "random tokens": "#64748b",
    "random subspace": "#94a3b8",
}
_STATE, _DRAWS = "#c0362c", "#475569"


def subspace_svg(summary: SubspaceSummary) -> str:
    """Draw a sketch's coverage; names are escaped."""
    rows = latest(summary)
    height = _TOP + _ROW * len(rows) + _GAP + _PANEL + 84
    told = " ".join(subspace_words(summary))
    about = f"{summary.identity.architecture}, rank {summary.rank}, {sum(summary.sketched.values())} requests sketched"
    lower = _TOP + _ROW * len(rows) + _GAP
    parts = [
        *opening(WIDTH, height, title="Where safety gradients lie", told=told, dark=True),
        text(24, 34, "Where safety gradients lie", size=17, weight="600"),
        text(24, 56, short(f"{about}, last on {summary.updates[-1].at:%Y-%m-%d %H:%M}", 120), size=13, fill=MUTED),
        *_legend(new=bool(newcomers(summary))),
        *_categories(summary),
        *_depth(summary.modules, lower),
        *_time(summary, lower),
        text(24, height - 16, "Shares |U\u1d40 G V|\u00b2 / |G|\u00b2 of requests that were not sketched; controls are "
             "texts of equal length in the same template.", size=12, fill=MUTED),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def subspace_html(summary: SubspaceSummary) -> str:
    """Make a page of the plot, its words and the figures behind it."""
    rows = "".join(
        "<tr><td>" + "</td><td>".join(escape(c) for c in row) + "</td></tr>" for row in _figures(summary)
    )
    names = ("category", "inside: U and V", "others of that update only", *_COLOURS)
    head = "".join(f"<th>{escape(n)}</th>" for n in names)
    words = "".join(f"<p>{escape(s)}</p>" for s in subspace_words(summary))
    style = (
        ":root{color-scheme:light dark;--ink:#1b1f24;--line:#d9dee3;--back:#fff}@media (prefers-color-scheme:dark)"
        "{:root{--ink:#e7eaed;--line:#363d45;--back:#15181c}}body{font-family:Segoe UI,Helvetica,Arial,sans-serif;"
        "max-width:980px;margin:24px auto;padding:0 12px;background:var(--back);color:var(--ink)}"
        "table{border-collapse:collapse}td,th{padding:4px 12px;text-align:right;border-bottom:1px solid var(--line)}"
        "td:first-child,th:first-child{text-align:left}"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Where safety gradients lie</title>'
        f"<style>{style}</style></head>\n<body>{subspace_svg(summary)}{words}\n<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )


def _figures(summary: SubspaceSummary) -> Iterator[Sequence[str]]:
    for name, found in latest(summary).items():
        out = f"{found.left_out.requests.both:.1%}" if found.left_out else "-"
        yield name, f"{found.inside.requests.both:.1%}", out, *(_share(found.inside.controls, c) for c in _COLOURS)
    for name, day, found in newcomers(summary):
        if found.before:
            yield (f"{name}, before it came in on {day}", f"{found.before.requests.both:.1%}", "-",
                   *(_share(found.before.controls, c) for c in _COLOURS))  # fmt: skip


def _share(controls: Mapping[str, Shares], name: str) -> str:
    return f"{controls[name].both:.1%}" if name in controls else "-"


def _legend(*, new: bool) -> Iterator[str]:
    x = 24.0
    for words, colour, hollow in (
        ("refused harmful", _REQUESTS, False),
        ("others of that update only", _REQUESTS, True),
        *((n, c, False) for n, c in _COLOURS.items()),
    ):
        yield _dot(x + 5, 78, colour, hollow=hollow)
        yield text(x + 15, 82, words, size=12)
        x += 30 + 6.4 * len(words)
    if new:
        yield _square(x + 5, 78, _REQUESTS)
        yield text(x + 15, 82, "before it came in", size=12)


def _categories(summary: SubspaceSummary) -> Iterator[str]:
    rows, before = latest(summary), {name: m.before for name, _, m in newcomers(summary)}
    bottom = _TOP + _ROW * len(rows)
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x = _LEFT + tick * (_RIGHT - _LEFT)
        yield f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        yield text(x, bottom + 18, f"{100 * tick:.0f} %", size=12, fill=MUTED, anchor="middle")
    yield text(24, _TOP - 14, "energy inside the sketch, by category", size=13, weight="600")
    for i, (name, found) in enumerate(rows.items()):
        y = _TOP + (i + 0.5) * _ROW
        own = found.inside.requests.both
        yield text(24, y + 4, short(name, 32), size=13)
        marks = [(s.both, _COLOURS[n], False) for n, s in found.inside.controls.items() if n in _COLOURS]
        shares = [own, *(share for share, _, _ in marks)]
        low, high = min(shares), max(shares)
        yield f'<line x1="{_at(low):.1f}" y1="{y}" x2="{_at(high):.1f}" y2="{y}" stroke="{GRID}" stroke-width="2"/>'
        if found.left_out:
            marks.append((found.left_out.requests.both, _REQUESTS, True))
        for share, colour, hollow in (*marks, (own, _REQUESTS, False)):
            yield _dot(_at(share), y, colour, hollow=hollow)
        if was := before.get(name):
            yield _square(_at(was.requests.both), y, _REQUESTS)


def _depth(modules: Sequence[ModuleCoverage], top: float) -> Iterator[str]:
    """Draw shares by block, first to last."""
    left, right = 64, 470
    yield from _frame(left, right, top, "by depth: block, first to last")
    blocks: dict[int, list[ModuleCoverage]] = {}
    for module in modules:
        block = block_of(module.module)
        if block is not None:
            blocks.setdefault(block, []).append(module)
    if len(blocks) < 2:
        yield text(left + 12, top + 30, "the matrices' names tell no blocks apart", size=12, fill=MUTED)
        return
    found = [averaged(blocks[b]) for b in sorted(blocks)]
    step = (right - left) / (len(found) - 1)
    for name, colour in (("requests", _REQUESTS), *_COLOURS.items()):  # controls lie on top of the broader line
        points = [(left + i * step, f[name]) for i, f in enumerate(found) if name in f]
        yield _line(points, top, colour, width=5.0 if name == "requests" else 1.5)
    for i in sorted({0, len(found) // 2, len(found) - 1}):
        yield text(left + i * step, top + _PANEL + 18, str(sorted(blocks)[i]), size=12, fill=MUTED, anchor="middle")


def _time(summary: SubspaceSummary, top: float) -> Iterator[str]:
    """Draw overlaps with the sketch before, of the left side in full and of the right side dashed."""
    left, right = 548, _RIGHT
    yield from _frame(left, right, top, "over updates: overlap with the sketch before")
    found = [(i + 1, u.drift) for i, u in enumerate(summary.updates) if u.drift is not None]
    if not found:
        yield text(left + 12, top + 30, "one update so far: there is nothing to compare it with", size=12, fill=MUTED)
        return
    first, last = found[0][0], found[-1][0]
    places = [(left + right) / 2 if first == last else left + 24 + (n - first) / (last - first) * (right - left - 48)
              for n, _ in found]  # fmt: skip
    for name, colour in (("resampled", _DRAWS), ("fresh", _STATE)):
        for side, dashes in (("left", "none"), ("right", "5 4")):
            points = [(x, getattr(getattr(d, side), name)) for x, (_, d) in zip(places, found, strict=True)]
            yield _line(points, top, colour, width=2.0, dashes=dashes)
            for x, value in points:
                yield _dot(x, top + _PANEL * (1 - value), colour, hollow=side == "right")
    apart = max(1, len(found) // 6)
    for x, (n, _) in list(zip(places, found, strict=True))[::apart]:
        yield text(x, top + _PANEL + 18, f"update {n}", size=12, fill=MUTED, anchor="middle")
    legend = ((left - 35, "this update's requests", _STATE), (left + 128, "two draws, one model", _DRAWS))
    for x, words, colour in legend:
        yield _dot(x, top + _PANEL + 38, colour, hollow=False)
        yield text(x + 10, top + _PANEL + 42, words, size=12)
    yield text(right, top + _PANEL + 42, "U full, V hollow", size=12, fill=MUTED, anchor="end")


def _frame(left: float, right: float, top: float, title: str) -> Iterator[str]:
    yield text(left - 40, top - 18, title, size=13, weight="600")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + _PANEL * (1 - tick)
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{GRID}"/>'
        yield text(left - 8, y + 4, f"{tick:g}", size=12, fill=MUTED, anchor="end")
    yield f'<line x1="{left}" y1="{top + _PANEL}" x2="{right}" y2="{top + _PANEL}" stroke="{INK}"/>'


def _line(
    points: Sequence[tuple[float, float]], top: float, colour: str, *, width: float, dashes: str = "none"
) -> str:
    placed = " ".join(f"{x:.1f},{top + _PANEL * (1 - value):.1f}" for x, value in points)
    return (
        f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-dasharray="{dashes}"/>'
    )


def _dot(x: float, y: float, colour: str, *, hollow: bool) -> str:
    fill = GROUND if hollow else colour
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _square(x: float, y: float, colour: str) -> str:
    return (
        f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{GROUND}" stroke="{colour}" '
        'stroke-width="1.5"/>'
    )


def _at(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)
