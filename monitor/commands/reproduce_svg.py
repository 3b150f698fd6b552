"""The plot of a run of ``alignd reproduce``: ASR by attack, one mark a recipe, one self-contained SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monitor.commands.svg import GRID, INK, MUTED, opening, short, text
from remediation.reproduce.looks import PHRASES
from remediation.reproduce.plan import ALIGNED, CONTROLS, NONE, Row
from remediation.reproduce.tables import asr_spread, recipes_of

__all__ = ["reproduce_svg"]

WIDTH = 900
_LEFT, _RIGHT, _TOP = 190, 868, 150
_LINE, _GAP = 17, 20
"""Height of a recipe's line, and between two attacks."""
_COLOURS = ("#2563eb", "#0d9488", "#7c3aed", "#b45309", "#be185d", "#4d7c0f", "#0369a1")
_DRIFTED, _CONTROL = "#c0362c", {"random": "#94a3b8", "benign": "#475569"}
_LEGEND_ROOM = 820


def reproduce_svg(rows: Sequence[Row], *, model: str, judge: str = PHRASES) -> str:
    """Draw the ASR of every attack before and after each recipe; a thin line joins the lowest and highest seed."""
    attacks = list(dict.fromkeys(r.key.attack for r in rows if r.key.attack))
    recipes = recipes_of(rows)
    looks = _colours(recipes)
    band = _LINE * max(1, len(recipes)) + _GAP
    bottom = _TOP + band * max(1, len(attacks))
    aligned = asr_spread([r for r in rows if r.key.recipe == ALIGNED], judge=judge)
    parts = [
        *opening(WIDTH, bottom + 70, title=f"The safety patch on {model}", told=_told(rows, judge), dark=True),
        text(24, 34, short(f"Harmful requests that {model} goes along with", 90), size=17, weight="600"),
        text(24, 56, short(f"before (red) and after each recipe, by attack; judge {judge}", 120), size=13, fill=MUTED),
        *_legend(looks),
        *_axis(bottom),
    ]
    if aligned:
        x = _x(aligned.mean)
        parts += [
            f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{INK}" stroke-dasharray="3 4"/>',
            text(min(x + 4, _RIGHT - 90), _TOP - 10, "aligned model", size=11, fill=MUTED),
        ]
    for i, attack in enumerate(attacks):
        parts += _band([r for r in rows if r.key.attack == attack], attack, looks, _TOP + i * band, judge)
    parts += ["</svg>"]
    return "\n".join(parts) + "\n"


def _told(rows: Sequence[Row], judge: str) -> str:
    said = []
    for recipe in (ALIGNED, *recipes_of(rows)):
        spread = asr_spread([r for r in rows if r.key.recipe == recipe], judge=judge)
        said.append(f"{recipe}: {spread.words() if spread else 'not measured'}")
    return "ASR over all attacks. " + "; ".join(said)


def _colours(recipes: Sequence[str]) -> dict[str, str]:
    own = [r for r in recipes if r not in CONTROLS and r != NONE]
    colours = {r: _COLOURS[i % len(_COLOURS)] for i, r in enumerate(own)}
    return {r: _DRIFTED if r == NONE else _CONTROL[r] if r in CONTROLS else colours[r] for r in recipes}


def _legend(looks: dict[str, str]) -> Iterator[str]:
    x, y = 24.0, 84
    for recipe, colour in looks.items():
        words = {NONE: "none (drifted)"}.get(recipe, f"{recipe} (control)" if recipe in CONTROLS else recipe)
        wide = 7.0 * len(words) + 34
        if x + wide > _LEGEND_ROOM:
            x, y = 24.0, y + 20
        yield f'<circle cx="{x + 5:.1f}" cy="{y - 4}" r="5" fill="{colour}"/>'
        yield text(x + 16, y, words, size=12)
        x += wide


def _axis(bottom: int) -> Iterator[str]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _x(share)
        yield f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        yield text(x, bottom + 18, f"{share:.0%}".replace("%", " %"), size=12, fill=MUTED, anchor="middle")
    yield f'<line x1="{_LEFT}" y1="{bottom}" x2="{_RIGHT}" y2="{bottom}" stroke="{INK}"/>'
    yield text((_LEFT + _RIGHT) / 2, bottom + 42, "ASR, asked as the attacker asks", size=13, anchor="middle")


def _band(rows: Sequence[Row], attack: str, looks: dict[str, str], top: int, judge: str) -> Iterator[str]:
    height = _LINE * max(1, len(looks))
    yield text(_LEFT - 14, top + _GAP / 2 + height / 2 + 4, short(attack, 24), size=13, weight="600", anchor="end")
    yield f'<line x1="24" y1="{top}" x2="{_RIGHT}" y2="{top}" stroke="{GRID}"/>'
    for i, (recipe, colour) in enumerate(looks.items()):
        y = top + _GAP / 2 + _LINE * (i + 0.5)
        own = [r for r in rows if r.key.recipe == recipe]
        spread = asr_spread(own, judge=judge)
        if spread is None:
            if any(r.error for r in own):
                yield text(_x(0.3), y + 4, f"{short(recipe, 30)} failed", size=11, fill=MUTED)
            continue
        ends = f'x1="{_x(spread.least):.1f}" x2="{_x(spread.greatest):.1f}"'
        yield f'<line {ends} y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="2"/>'
        yield f'<circle cx="{_x(spread.mean):.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'


def _x(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)
