"""The look that the commands' plots share: a ground and ink of their own, for a page of either kind.

Plots that ask for it turn dark where their reader's screen is. Each colour is written as an attribute, which any
program that draws SVG reads; a style exchanges it for its dark counterpart, as in a patch's report.
"""

from __future__ import annotations

from html import escape

__all__ = ["DARK", "GRID", "GROUND", "INK", "MUTED", "opening", "short", "text"]

GROUND, INK, MUTED, GRID = "#f8fafc", "#0f172a", "#475569", "#cbd5e1"
DARK = {
    GROUND: "#1c2025", INK: "#e7eaed", MUTED: "#9aa5b1", GRID: "#363d45", "#2563eb": "#7db3ea", "#b45309": "#f0a35e",
    "#0f8a6a": "#6fd19a", "#64748b": "#c3ccd6", "#94a3b8": "#7c8896", "#c0362c": "#ff8f86", "#7c3aed": "#c79bf0",
    "#1d4ed8": "#4f8dfd", "#d98200": "#ffd166", "#1aa38a": "#4ad6b4", "#3b1a5a": "#f3ecff", "#c07fd0": "#d39bfb",
}  # fmt: skip
"""Each colour's counterpart on a dark ground."""


def opening(width: int, height: int, *, title: str, told: str, dark: bool = False) -> list[str]:
    """Begin an ``<svg>`` with its ground; title and description are what a screen reader says.

    Args:
        dark: Exchange the colours of ``DARK`` where the reader's screen is dark; a plot that does has no others.
    """
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t d"'
    return [
        f'<svg {head} font-family="Segoe UI, Helvetica, Arial, sans-serif">',
        f'<title id="t">{escape(title)}</title>',
        f'<desc id="d">{escape(told)}</desc>',
        *([f"<style>@media (prefers-color-scheme: dark) {{ {_exchanged()} }}</style>"] if dark else []),
        f'<rect width="{width}" height="{height}" rx="10" fill="{GROUND}"/>',
    ]


def _exchanged() -> str:
    pairs = [(light, dark, part) for light, dark in DARK.items() for part in ("fill", "stroke")]
    return " ".join(f'svg [{part}="{light}"] {{ {part}: {dark}; }}' for light, dark, part in pairs)


def short(words: str, longest: int) -> str:
    """Cut what is too long for its place."""
    return words if len(words) <= longest else words[: longest - 1] + "\u2026"


def text(
    x: float, y: float, words: str, *, size: int, fill: str = INK, weight: str = "400", anchor: str = "start"
) -> str:
    """Write words, escaped."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
