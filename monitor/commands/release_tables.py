"""Releases as a person reads them: ids are never cut, whatever the terminal's width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.keeping import Sweep

__all__ = ["gate_lines", "lines_of", "release_lines", "size_of", "sweep_lines", "terminal_columns"]

_UNITS = ("B", "kB", "MB", "GB", "TB")
_GAP = "  "
_INDENT = 2


def terminal_columns() -> int:
    """Return how wide the terminal is; 0 where the output goes elsewhere, so that each row stays one line."""
    return shutil.get_terminal_size((0, 0)).columns


def size_of(count: float) -> str:
    """Say a number of bytes, e.g. ``1.2 GB``."""
    power = 0
    while count >= 999.5 and power < len(_UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.1f} {_UNITS[power]}" if power else f"{count:.0f} B"


def lines_of(rows: Sequence[tuple[str, ...]], *, columns: int) -> list[str]:
    """Set rows in columns; a first cell that is too long for that gets a line of its own, with the others below it.

    Args:
        columns: Of the terminal; 0 where there is no limit.
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rest = [_GAP.join(f"{cell:<{w}}" for cell, w in zip(row[1:], widths[1:], strict=True)).rstrip() for row in rows]
    room = columns - max(map(len, rest)) - len(_GAP) if columns else widths[0]
    first = max((len(row[0]) for row in rows if len(row[0]) <= room), default=_INDENT)
    lines: list[str] = []
    for row, others in zip(rows, rest, strict=True):
        fits = len(row[0]) <= first
        lines += [] if fits else [row[0]]
        lines.append(f"{row[0] if fits else '':<{first}}{_GAP}{others}".rstrip())
    return [line for line in lines if line]


def release_lines(rows: Sequence[Mapping[str, Any]], *, columns: int) -> list[str]:
    """Set the releases of a store, with what each is to the targets."""
    cells = [
        (r["release"], r["kind"], r["created"][:16].replace("T", " "), f"{size_of(r['bytes']):>8}", _use(r["notes"]))
        for r in rows
    ]
    return lines_of([("RELEASE", "KIND", "MADE (UTC)", "    SIZE", "USE"), *cells], columns=columns)


def _use(notes: Sequence[str]) -> str:
    """Say what it is for; what takes the traffic is up, too, which need not be said."""
    active = {note.removesuffix(": active") for note in notes if note.endswith(": active")}
    return "; ".join(note for note in notes if note.removesuffix(": warm") not in active) or "-"


def sweep_lines(done: Sweep, *, dry_run: bool, columns: int) -> list[str]:
    """Say what a sweep of the store left and took, and why what stays does."""
    word = "would go" if dry_run else "removed"
    rows = [(f"{'kept':<8}  {release}", why) for release, why in done.kept.items()]
    rows += [(f"{word}  {name}", "") for name in done.gone]
    kept, gone = f"kept {len(done.kept)} ({size_of(done.kept_bytes)})", f"{len(done.gone)}"
    if not done.gone:
        end = "nothing can go"
    elif dry_run:
        end = f"{gone} can go, which frees {size_of(done.freed_bytes)}; nothing was removed"
    else:
        end = f"removed {gone}, which freed {size_of(done.freed_bytes)}"
    return [*lines_of(rows, columns=columns), f"{kept}; {end}"]


def gate_lines(gates: Sequence[Mapping[str, Any]], *, columns: int) -> list[str]:
    """Set what the gates said; those that nobody asked for are named in one line."""
    said = [g for g in gates if g["blocks"] or g["status"] != "not measured"]
    rest = [g["name"] for g in gates if g not in said]
    rows = [(f"{g['number']:>4}", g["name"], _status(g), g["detail"]) for g in said]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines: list[str] = []
    for *head, detail in rows:
        start = _GAP.join(f"{cell:<{width}}" for cell, width in zip(head, widths, strict=True)) + _GAP
        lines += _wrapped(start + detail, indent=len(start) if len(start) < columns // 2 else 6, columns=columns)
    return lines + (_wrapped(f"      not asked for here: {', '.join(rest)}", indent=6, columns=columns) if rest else [])


def _status(gate: Mapping[str, Any]) -> str:
    """Say ``reported`` of a gate that failed and fails nobody."""
    return "reported" if gate["status"] == "failed" and not gate["blocks"] else str(gate["status"])


def _wrapped(line: str, *, indent: int, columns: int) -> list[str]:
    if not columns or len(line) <= columns:
        return [line]
    width = max(columns, indent + 20)
    return textwrap.wrap(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True, replace_whitespace=False,
    )  # fmt: skip
