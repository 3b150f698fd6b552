"""Texts that a stranger wrote, as they may be shown on a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from probes.transcripts.record import Transcript

__all__ = ["told", "transcript_table"]


def told(text: str, *, indent: str | None = None) -> str:
    r"""Write out what a terminal would obey or hide: ``\x1b`` and the like.

    Args:
        indent: Put before each line, so that no text passes for what stands around it; without one, line ends are
            written out too.
    """
    kept = "" if indent is None else "\n\t"
    safe = "".join(c if c in kept or _seen(c) else c.encode("unicode_escape").decode() for c in text)
    return safe if indent is None else "\n".join(indent + line for line in safe.split("\n"))


def _seen(character: str) -> bool:
    """Whether a character neither moves the cursor, nor turns the direction of writing, nor shows nothing."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def transcript_table(transcripts: Iterable[Transcript]) -> Table:
    """Lay out what transcripts say without the key; nothing is left out where the terminal is narrow."""
    table = Table(title="transcripts", title_justify="left")
    for column in ("at", "target", "release", "probe", "behavior", "attack", "verdict"):
        table.add_column(column, no_wrap=column == "probe", overflow="fold")
    for t in transcripts:
        verdict = f"{t.verdict} ({t.missing})" if t.missing else t.verdict
        at = f"{t.at:%Y-%m-%d %H:%M:%S}"
        cells = (at, t.target, t.release or "-", t.probe, t.behavior, t.attack, verdict)
        table.add_row(*(Text(told(cell)) for cell in cells))
    return table
