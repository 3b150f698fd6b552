"""Texts of somebody else: made fit for a terminal and a page, or refused."""

from __future__ import annotations

__all__ = ["ONE_LINE", "REASON_MAX", "plain"]

ONE_LINE, REASON_MAX = r"^[^\x00-\x1f\x7f]*$", 200
"""What a person's reason may be, and its most characters: it stands in logs, messages and on the page."""
_WIDE = 80


def plain(text: object, *, most: int = _WIDE) -> str:
    """Make a text of somebody else fit for a line: what can't be printed becomes ``?``, and the end is cut off.

    Control characters, escape sequences, changes of direction, NUL and half surrogates can't be printed.

    Args:
        text: Name, category or reason from a server, a file or a plugin.
        most: Characters to keep.
    """
    whole = str(text)
    line = "".join(c if c.isprintable() else "?" for c in whole[: most + 1])
    return line if len(whole) <= most else line[: most - 3] + "..."
