"""The files of transcripts as they lie in a folder: one a day, read from the newest line back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from probes.errors import TranscriptError

__all__ = ["days_of", "lines_before"]

_NAME = re.compile(r"\d{4}-\d{2}-\d{2}\.jsonl", re.ASCII)
_BLOCK = 1 << 16


def days_of(folder: Path) -> list[tuple[date, Path]]:
    """List the files of a folder by their days, newest first; what else lies there is left alone.

    Raises:
        TranscriptError: The folder can't be read.
    """
    found = []
    try:
        names = [p for p in folder.iterdir() if _NAME.fullmatch(p.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unread(folder, error) from error
    for path in names:
        with contextlib.suppress(ValueError):
            found.append((date.fromisoformat(path.stem), path))
    return sorted(found, reverse=True)


def lines_before(path: Path, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Read the lines that are there now, the last one first, each with the byte at which it begins.

    It holds a block and a line at a time. A line that is being written is left for the next time; a file that is gone
    has none.

    Args:
        end: Only what begins before this byte.

    Raises:
        TranscriptError: The file can't be read.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            size = os.fstat(file.fileno()).st_size
            fcntl.flock(file, fcntl.LOCK_UN)
            left, held = min(size, size if end is None else end), b""
            while left or held:
                cut = held.rfind(b"\n", 0, max(0, len(held) - 1)) + 1
                if not cut and left:
                    block = min(_BLOCK, left)
                    left -= block
                    file.seek(left)
                    held = file.read(block) + held
                    continue
                line, held = held[cut:], held[:cut]
                if line.strip():
                    yield left + cut, line
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unread(path, error) from error


def _unread(path: Path, error: OSError) -> TranscriptError:
    return TranscriptError(f"{path}: can't be read ({error.strerror}); ask as the user that the daemon runs as")
