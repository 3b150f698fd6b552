"""The plot of a run of ``alignd reproduce``: ASR by attack, one mark a recipe, one self-contained SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from monitor.commands.svg import GRID, INK, MUTED, opening, short, text
from remediation.reproduce.looks import PHRASES
from remediation.reproduce.plan import ALIGNED, CONTROLS, NONE, Row
from remediation.reproduce.tables import aligned_spread, asr_spread, recipes_of

__all__ = ["reproduce_svg"]

WIDTH = 900
_LEFT, _RIGHT, _HEAD = 190, 868, 84
_LINE, _GAP = 17, 20
"""Height of a recipe's line, and between two attacks."""
_LEGEND_ROOM, _LEGEND_LINE = 820, 20
_COLOURS = ("#1d4ed8", "#d98200", "#1aa38a", "#3b1a5a", "#c07fd0")
"""Told apart from each other and from the drifted model's red by colour-blind readers too; so there are few."""
_CIRCLE, _SQUARE = "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "m-4.5-4.5h9v9h-9z"
_DIAMOND, _UP = "m0-6.2l6.2 6.2l-6.2 6.2l-6.2-6.2z", "m0-5.8l5.8 10.2h-11.6z"
_CROSS = "m-5.5-3.3l2.2-2.2l3.3 3.3l3.3-3.3l2.2 2.2l-3.3 3.3l3.3 3.3l-2.2 2.2l-3.3-3.3l-3.3 3.3l-2.2-2.2l3.3-3.3z"
_BAR, _PLUS = "m-2-6h4v12h-4z", "m-1.5-5.5h3v4h4v3h-4v4h-3v-4h-4v-3h4z"
_MARKS = (_CIRCLE, _SQUARE, _DIAMOND, _UP)
"""As many as have no divisor in common with the colours, so that twenty recipes look different."""


class _Look(NamedTuple):
    colour: str
    mark: str


_FIXED = {NONE: _Look("#c0362c", _CROSS), "random": _Look("#94a3b8", _BAR), "benign": _Look("#475569", _PLUS)}


def reproduce_svg(rows: Sequence[Row], *, model: str, judge: str = PHRASES) -> str:
    """Draw the ASR of every attack before and after each recipe; a thin line joins the lowest and highest seed.

    A dashed line across an attack is the aligned model, asked as that attacker asks.
    """
    attacks = list(dict.fromkeys(r.key.attack for r in rows if r.key.attack))
    recipes = recipes_of(rows)
    looks = _looks(recipes)
    legend = [*_legend(looks)]
    top = _HEAD + _LEGEND_LINE * len(legend) + 10
    band = _LINE * max(1, len(recipes)) + _GAP
    bottom = top + band * max(1, len(attacks))
    parts = [
        *opening(WIDTH, bottom + 70, title=f"The safety patch on {model}", told=_told(rows, judge), dark=True),
        text(24, 34, short(f"Harmful requests that {model} goes along with", 90), size=17, weight="600"),
        text(24, 56, short(f"before (red) and after each recipe, by attack; judge {judge}", 120), size=13, fill=MUTED),
        *legend,
        *_axis(top, bottom),
    ]
    aligned = [r for r in rows if r.key.recipe == ALIGNED]
    for i, attack in enumerate(attacks):
        own, start = [r for r in rows if r.key.attack == attack], top + i * band
        if before := aligned_spread([*aligned, *own], judge=judge):
            parts.append(_dashed(_x(before.mean), start, _x(before.mean), start + band))
        parts += _band(own, attack, looks, start, judge)
    parts += ["</svg>"]
    return "\n".join(parts) + "\n"


def _told(rows: Sequence[Row], judge: str) -> str:
    said = []
    for recipe in (ALIGNED, *recipes_of(rows)):
        own = [r for r in rows if r.key.recipe == recipe]
        spread = aligned_spread(rows, judge=judge) if recipe == ALIGNED else asr_spread(own, judge=judge)
        said.append(f"{recipe}: {spread.words() if spread else 'not measured'}")
    return "ASR over all attacks. " + "; ".join(said)


def _looks(recipes: Sequence[str]) -> dict[str, _Look]:
    own = [r for r in recipes if r not in _FIXED]
    looks = {r: _Look(_COLOURS[i % len(_COLOURS)], _MARKS[i % len(_MARKS)]) for i, r in enumerate(own)}
    return {r: _FIXED.get(r) or looks[r] for r in recipes}


def _legend(looks: dict[str, _Look]) -> Iterator[str]:
    """Write what each mark stands for, a string a line."""
    x, y, line = 24.0, _HEAD, [_dashed(24, _HEAD - 4, 40, _HEAD - 4), text(46, _HEAD, "aligned model", size=12)]
    x += 7.0 * len("aligned model") + 40
    for recipe, look in looks.items():
        words = {NONE: "none (drifted)"}.get(recipe, f"{recipe} (control)" if recipe in CONTROLS else recipe)
        wide = 7.0 * len(words) + 34
        if x + wide > _LEGEND_ROOM:
            yield "\n".join(line)
            x, y, line = 24.0, y + _LEGEND_LINE, []
        line += [_mark(x + 6, y - 4, look), text(x + 18, y, words, size=12)]
        x += wide
    yield "\n".join(line)


def _mark(x: float, y: float, look: _Look) -> str:
    return f'<path d="M{x:.1f} {y:.1f}{look.mark}" fill="{look.colour}"/>'


def _dashed(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{INK}" stroke-width="1.5" stroke-dasharray="4 3"/>'


def _axis(top: int, bottom: int) -> Iterator[str]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _x(share)
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        yield text(x, bottom + 18, f"{share:.0%}".replace("%", " %"), size=12, fill=MUTED, anchor="middle")
    yield f'<line x1="{_LEFT}" y1="{bottom}" x2="{_RIGHT}" y2="{bottom}" stroke="{INK}"/>'
    yield text((_LEFT + _RIGHT) / 2, bottom + 42, "ASR, asked as the attacker asks", size=13, anchor="middle")


def _band(rows: Sequence[Row], attack: str, looks: dict[str, _Look], top: int, judge: str) -> Iterator[str]:
    height = _LINE * max(1, len(looks))
    yield text(_LEFT - 14, top + _GAP / 2 + height / 2 + 4, short(attack, 24), size=13, weight="600", anchor="end")
    yield f'<line x1="24" y1="{top}" x2="{_RIGHT}" y2="{top}" stroke="{GRID}"/>'
    for i, (recipe, look) in enumerate(looks.items()):
        y = top + _GAP / 2 + _LINE * (i + 0.5)
        own = [r for r in rows if r.key.recipe == recipe]
        spread = asr_spread(own, judge=judge)
        if spread is None:
            if any(r.error for r in own):
                yield text(_x(0.3), y + 4, f"{short(recipe, 30)} failed", size=11, fill=MUTED)
            continue
        ends = f'x1="{_x(spread.least):.1f}" x2="{_x(spread.greatest):.1f}"'
        yield f'<line {ends} y1="{y:.1f}" y2="{y:.1f}" stroke="{look.colour}" stroke-width="2"/>'
        yield _mark(_x(spread.mean), y, look)


def _x(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)
