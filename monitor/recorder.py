"""Keeps what sweeps asked and were answered. What can't be kept is counted and told; it never stops a sweep."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime

from probes.errors import TranscriptError
from probes.result import SweepResult
from probes.transcripts.store import TranscriptStore

__all__ = ["Recorder"]

log = logging.getLogger("alignd")


@dataclass(slots=True, kw_only=True)
class Recorder:
    """Hands the sweeps of one target to the transcripts, beside the event loop.

    Attributes:
        store: Where they are kept; ``None`` keeps nothing.
        failed: Probes so far whose transcript could not be written.
        why: Why the last one could not; empty where it was.
    """

    store: TranscriptStore | None = None
    failed: int = 0
    why: str = ""

    async def record(self, sweep: SweepResult, *, release: str) -> None:
        """Keep a sweep's transcripts.

        Args:
            release: What answered, as far as it is known.
        """
        await asyncio.to_thread(self.keep, sweep, release=release)

    def keep(self, sweep: SweepResult, *, release: str) -> None:
        """Keep a sweep's transcripts, or those of a part of it, at once."""
        if self.store is None or not sweep.results:
            return
        try:
            self.store.record(sweep, release=release)
        except TranscriptError as error:
            self.failed += len(sweep.results)
            self.why = f"transcripts: {error}"
            log.warning("transcripts_failed", extra={"target": sweep.target, "sweep": sweep.id, "why": str(error)})
        else:
            self.why = ""

    async def purge(self, now: datetime) -> None:
        """Remove what is older than the retention time."""
        if self.store is None:
            return
        try:
            removed = await asyncio.to_thread(self.store.purge, now)
        except TranscriptError as error:
            log.warning("transcripts_not_purged", extra={"why": str(error)})
        else:
            if removed:
                log.info("transcripts_purged", extra={"files": list(removed)})
