"""How well the schedule is kept, by job; in memory only, and nothing of it matters after a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["JobTiming", "Timing"]

_WINDOW_SECONDS = 300.0
"""The worst lag is that of the last five to ten minutes: long enough for any scrape to see it."""


def _not_planned(_: str) -> datetime | None:
    return None


@dataclass(slots=True)
class JobTiming:
    """How the runs of one kind of job went.

    Attributes:
        missed: Runs that did not happen in their time, for the process was stopped, asleep or held up.
        overruns: Runs left out, for the one before had not ended.
        failures: Runs that ended in a fault of the daemon's own.
        ran_at: When the newest one began.
    """

    runs: int = 0
    missed: int = 0
    overruns: int = 0
    failures: int = 0
    ran_at: datetime | None = None
    _worst: tuple[float, float] = (0.0, 0.0)
    _since: float = 0.0

    def began(self, at: datetime, lag: float) -> None:
        """Note that a run began, and how many seconds too late."""
        self.runs, self.ran_at = self.runs + 1, at
        self._turn(at)
        before, present = self._worst
        self._worst = before, max(present, lag)

    def lag(self, now: datetime) -> float:
        """Return by how many seconds the latest of the last minutes' runs was late."""
        self._turn(now)
        return max(self._worst)

    def _turn(self, at: datetime) -> None:
        """Forget what is older than the window; where the clock was set, begin anew."""
        age = at.timestamp() - self._since
        if not 0 <= age < _WINDOW_SECONDS:
            kept = self._worst[1] if 0 <= age < 2 * _WINDOW_SECONDS else 0.0
            self._worst, self._since = (kept, 0.0), at.timestamp()

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Return plain values."""
        return {
            "runs": self.runs, "missed": self.missed, "overruns": self.overruns, "failures": self.failures,
            "lag_seconds": round(self.lag(now), 3), "ran_at": self.ran_at.isoformat() if self.ran_at else None,
        }  # fmt: skip


@dataclass(slots=True)
class Timing:
    """How the runs of all jobs went.

    Attributes:
        clock_jumps: How often the wall clock was set, back or forward.
        next_run: Returns when a job runs next, by its id; nothing where this process runs no schedule.
    """

    jobs: dict[str, JobTiming] = field(default_factory=dict)
    clock_jumps: int = 0
    next_run: Callable[[str], datetime | None] = _not_planned

    def of(self, kind: str) -> JobTiming:
        """Return the figures of a kind of job."""
        return self.jobs.setdefault(kind, JobTiming())

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Return plain values."""
        return {
            "clock_jumps": self.clock_jumps,
            "jobs": {kind: job.to_json(now) for kind, job in sorted(self.jobs.items())},
        }
