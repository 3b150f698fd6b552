"""The look that the commands' plots share: a light ground and dark ink of their own, for a page of either kind."""

from __future__ import annotations

from html import escape

__all__ = ["GRID", "GROUND", "INK", "MUTED", "opening", "short", "text"]

GROUND, INK, MUTED, GRID = "#f8fafc", "#0f172a", "#475569", "#cbd5e1"


def opening(width: int, height: int, *, title: str, told: str) -> list[str]:
    """Begin an ``<svg>`` with its ground; title and description are what a screen reader says."""
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t d"'
    return [
        f'<svg {head} font-family="Segoe UI, Helvetica, Arial, sans-serif">',
        f'<title id="t">{escape(title)}</title>',
        f'<desc id="d">{escape(told)}</desc>',
        f'<rect width="{width}" height="{height}" rx="10" fill="{GROUND}"/>',
    ]


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
