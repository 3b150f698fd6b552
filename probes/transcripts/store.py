"""Transcripts on disk: one file of JSON lines for each day, only ever appended to, removed whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from probes.errors import TranscriptError
from probes.result import SweepResult
from probes.transcripts.files import days_of, lines_before
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep, Transcript, day_of, transcript_of

__all__ = ["TranscriptReader", "TranscriptStore"]

_ANYONE_ELSE = 0o077


class TranscriptStore:
    """Writes transcripts and removes old ones. Several processes may write to one folder.

    Attributes:
        folder: Where they lie.
        keep: What is kept of texts.
        ring: Writes hashes and seals, and opens what was sealed.
        days: How long a transcript is kept at least.
    """

    def __init__(self, folder: Path, *, keep: Keep, ring: Keyring, days: int) -> None:
        """Take the folder, which is made when there is something to write.

        Args:
            days: How long a transcript is kept at least; with its day's file it goes within a day after.
        """
        self.folder = folder
        self.keep = keep
        self.ring = ring
        self.days = days

    def record(self, sweep: SweepResult, *, release: str) -> int:
        """Append what a sweep asked and got; either all of its lines are there afterwards or, as a rule, none.

        Args:
            release: What answered, as far as it is known.

        Returns:
            How many lines were written.

        Raises:
            TranscriptError: The folder can't be written, or the disk is full.
        """
        if self.keep is Keep.NOTHING or not sweep.results:
            return 0
        kept = [transcript_of(r, sweep, release=release, keep=self.keep, ring=self.ring) for r in sweep.results]
        path = self.folder / f"{day_of(sweep.finished_at)}.jsonl"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _append(path, b"".join(t.to_line() for t in kept))
        except OSError as error:
            raise TranscriptError(
                f"{path}: can't be written ({error.strerror}); free disk or mend the folder's rights"
            ) from error
        return len(kept)

    def purge(self, now: datetime, *, before: date | None = None) -> tuple[str, ...]:
        """Remove the files whose every line is older than the retention time.

        Args:
            before: Remove the days before this one instead.

        Returns:
            The names of the files that were removed.

        Raises:
            TranscriptError: A file can't be removed; the others were.
        """
        removed, faults = [], []
        for path in self.outdated(now, before=before):
            try:
                path.unlink(missing_ok=True)
                removed.append(path.name)
            except OSError as error:
                faults.append(f"{path}: can't be removed ({error.strerror})")
        if faults:
            raise TranscriptError(f"{'; '.join(faults)}; mend the folder's rights")
        return tuple(removed)

    def outdated(self, now: datetime, *, before: date | None = None) -> tuple[Path, ...]:
        """Return what ``purge`` would remove, oldest first."""
        limit = before or now.astimezone(UTC).date() - timedelta(days=self.days)
        return tuple(path for day, path in reversed(days_of(self.folder)) if day < limit)


class TranscriptReader:
    """Reads transcripts, newest first; needs no key, for it opens no envelope.

    Attributes:
        damaged: Lines met so far that are no transcript: what a crash cut short, or what was put there since.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder."""
        self.damaged = 0
        self._folder = folder

    def transcripts(self, *, since: date | None = None, about: str = "") -> Iterator[Transcript]:
        """Read the days from ``since`` on.

        Args:
            about: A sweep's or a probe's id: only these; all of them where it is empty.

        Raises:
            TranscriptError: The folder or a file can't be read.
        """
        for day, path in days_of(self._folder):
            if since is None or day >= since:
                yield from self._read(path, about)

    def _read(self, path: Path, about: str) -> Iterator[Transcript]:
        spelled = json.dumps(about)[1:-1].encode()
        for _, line in lines_before(path):
            if spelled not in line:
                continue
            try:
                transcript = Transcript.from_line(line)
            except ValueError:
                self.damaged += 1
                continue
            if about in {"", transcript.sweep, transcript.probe}:
                yield transcript


def _append(path: Path, data: bytes) -> None:
    """Append whole lines. What can't be written whole is taken back; what a crash left is ended first."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    opened = os.open(path, flags, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        state = os.fstat(opened)
        if state.st_mode & _ANYONE_ELSE:
            os.fchmod(opened, 0o600)
        size = state.st_size
        if size and os.pread(opened, 1, size - 1) != b"\n":
            data = b"\n" + data
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(opened, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(opened, size)
            raise
    finally:
        os.close(opened)
