"""One page of transcripts, the newest first: so many lines at most, and so many bytes looked at for them.

A page's place is a day and a byte. Files are only ever appended to, so that it stays where it is while more is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path

from probes.transcripts.files import days_of, lines_before
from probes.transcripts.record import Transcript

__all__ = ["BYTES_MAX", "PLACE", "Page", "Place", "Wanted", "read_page"]

BYTES_MAX = 4 << 20
"""Most bytes that are looked at for one page: under half a second where every line is parsed, and a day of one target's
hashes."""

PLACE = "[1-9][0-9]{5}[.][0-9]{1,15}"
"""How a place is spelled: days since the year 1, and bytes. Whatever fits is a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page begins: what lies before this byte of this day, and the days before it."""

    day: date
    end: int

    def __str__(self) -> str:
        """Return it as ``of`` takes it."""
        return f"{self.day.toordinal()}.{self.end}"

    @staticmethod
    def of(text: str) -> Place:
        """Read what ``str`` wrote.

        Raises:
            ValueError: It is no such place.
        """
        if not re.fullmatch(PLACE, text):
            raise ValueError("not a day, a dot and a number of bytes")
        day, _, end = text.partition(".")
        return Place(day=date.fromordinal(int(day)), end=int(end))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which transcripts to find.

    Attributes:
        named: Field to value: all of these.
        begins: Field to the begin of its value: all of these.
        since: Of sweeps that ended then or later.
        until: Of sweeps that ended then or before.
        fits: Whether it is one, where the fields alone don't say.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    begins: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    fits: Callable[[Transcript], bool] = lambda _: True

    def has_day(self, day: date) -> bool:
        """Whether some may be of a day."""
        first, last = (datetime.combine(day, at, UTC) for at in (time.min, time.max))
        return (self.since is None or last >= self.since) and (self.until is None or first <= self.until)

    def has(self, transcript: Transcript) -> bool:
        """Whether this is one."""
        named = all(getattr(transcript, name) == value for name, value in self.named.items())
        begins = all(getattr(transcript, name).startswith(value) for name, value in self.begins.items())
        after = self.since is None or transcript.at >= self.since
        before = self.until is None or transcript.at <= self.until
        return named and begins and after and before and self.fits(transcript)

    def spellings(self) -> tuple[bytes, ...]:
        """Return what the line of each must hold, as lines are spelled: most others are then not parsed."""
        whole = [f'"{name}":{json.dumps(value)}' for name, value in self.named.items()]
        begun = [f'"{name}":{json.dumps(value)[:-1]}' for name, value in self.begins.items()]
        return tuple(spelled.encode() for spelled in (*whole, *begun))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was found.

    Attributes:
        transcripts: The newest first.
        following: Where the next page begins; ``None`` where nothing is left to look at.
        damaged: Lines met that are no transcript: what a crash cut short, or what was put there since.
        oldest: The oldest day of which there is anything.
    """

    transcripts: tuple[Transcript, ...]
    following: Place | None
    damaged: int
    oldest: date | None


def read_page(
    folder: Path, wanted: Wanted, *, most: int, before: Place | None = None, bytes_max: int = BYTES_MAX
) -> Page:
    """Read a page.

    Args:
        most: At most so many transcripts.
        before: Where it begins; at the newest where it is not given.

    Raises:
        TranscriptError: The folder or a file can't be read.
    """
    days = days_of(folder)
    spellings, seen, damaged = wanted.spellings(), 0, 0
    found: list[Transcript] = []
    place = following = before
    for place, line in _lines(days, wanted, before):
        if seen > bytes_max:
            break
        seen += len(line)
        if all(spelled in line for spelled in spellings):
            try:
                transcript = Transcript.from_line(line)
            except ValueError:
                damaged += 1
            else:
                if wanted.has(transcript):
                    if len(found) == most:
                        break
                    found.append(transcript)
        following = place
    else:
        following = None
    oldest = days[-1][0] if days else None
    return Page(transcripts=tuple(found), following=following, damaged=damaged, oldest=oldest)


def _lines(days: list[tuple[date, Path]], wanted: Wanted, before: Place | None) -> Iterator[tuple[Place, bytes]]:
    for day, path in days:
        if not wanted.has_day(day) or (before and day > before.day):
            continue
        end = before.end if before and day == before.day else None
        for start, line in lines_before(path, end):
            yield Place(day=day, end=start), line
