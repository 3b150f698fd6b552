"""APScheduler, kept on its beat.

It plans by the wall clock alone. Set back by hours, it would rest for hours; set forward, or after the machine slept,
every job would be due at the same moment. Here intervals go by a clock that nobody sets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from monitor.timing import Timing

__all__ = ["Clockwork", "Work", "job_id", "spread"]

log = logging.getLogger("alignd")

Work = Callable[[str], Awaitable[None]]
"""What is done for a subject, by its name."""

_JUMP_SECONDS = 1.0
"""By less the clock is put right all the time."""
_HELD_UP_SECONDS = 2.0
"""The shortest job runs every second: where nothing ran for so long, the process did not."""
_APART_SECONDS = 0.25
"""Between the first runs of two subjects on average, where the interval leaves room for so much."""


def steady_seconds() -> float:
    """Return the seconds since the machine started, those it slept in too, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def job_id(kind: str, subject: str) -> str:
    """Return the id of a job."""
    return f"{kind}-{subject}"


def spread(kind: str, seconds: Mapping[str, float]) -> dict[str, float]:
    """Return after how many seconds each subject has its first run: one at once, the others by their names.

    Hundreds of targets that are probed together would be late together, at each interval again.

    Args:
        kind: The job; two jobs of one subject do not fall together.
        seconds: Interval of each subject.
    """
    room = _APART_SECONDS * (len(seconds) - 1)
    later = {name: min(interval, room) * _share(job_id(kind, name)) for name, interval in seconds.items()}
    first = min(later.values(), default=0.0)
    return {name: at - first for name, at in later.items()}


def _share(word: str) -> float:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest()) / 2**64


class Clockwork(AsyncIOScheduler):  # type: ignore[misc]  # it has no types
    """Runs jobs at intervals: a job that was missed is made up for once, and counted."""

    def __init__(
        self, timing: Timing, *, steady: Callable[[], float] = steady_seconds, wall: Callable[[], float] = time.time
    ) -> None:
        """Take where runs are counted, and two clocks: one that nobody sets, and the machine's."""
        super().__init__(
            timezone=UTC, job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        )
        self.timing = timing
        self._steady, self._wall = steady, wall
        self._seen = steady(), wall()
        self._due: dict[str, datetime] = {}
        self.add_listener(self._submitted, EVENT_JOB_SUBMITTED)
        self.add_listener(self._left_out, EVENT_JOB_MAX_INSTANCES)
        timing.next_run = self.next_run

    def every(self, kind: str, seconds: Mapping[str, float], work: Work) -> None:
        """Do something for each subject again and again.

        Args:
            kind: What is done; figures go by it.
            seconds: Interval of each subject.
            work: Does it.
        """
        for begin in self.planned(kind, seconds, work):
            begin()

    def planned(self, kind: str, seconds: Mapping[str, float], work: Work) -> list[Callable[[], Job]]:
        """Return what begins each job of ``every``; nothing that can't be planned is left for then."""
        now = self._now()
        if seconds:
            self.timing.of(kind)
        return [
            partial(
                self.add_job, self._run, IntervalTrigger(seconds=seconds[name], timezone=UTC), args=[kind, name, work],
                id=job_id(kind, name), name=job_id(kind, name), next_run_time=now + timedelta(seconds=later),
            )
            for name, later in spread(kind, seconds).items()
        ]  # fmt: skip

    def pace(self, kind: str, name: str, seconds: float) -> None:
        """Change a job's interval; the next run is that far away."""
        self.reschedule_job(job_id(kind, name), trigger=IntervalTrigger(seconds=seconds, timezone=UTC))

    def at_once(self, kind: str, name: str) -> None:
        """Run a job now; its interval begins anew with it. Where it is on its way, that is it."""
        self.modify_job(job_id(kind, name), next_run_time=self._now())

    def drop(self, names: Collection[str]) -> None:
        """Plan nothing more for these subjects."""
        for job in self.get_jobs():
            if job.args[1] in names:
                job.remove()

    def next_run(self, job: str) -> datetime | None:
        """Return when a job runs next; nothing where there is none."""
        found = self.get_job(job) if self.running else None
        at: datetime | None = found.next_run_time if found else None
        return at

    def wakeup(self) -> None:
        """Run what is due, after a look at both clocks."""
        self._keep_beat()
        super().wakeup()

    async def _run(self, kind: str, name: str, work: Work) -> None:
        now = self._now()
        due = self._due.pop(job_id(kind, name), now)
        self.timing.of(kind).began(now, max(0.0, (now - due).total_seconds()))
        await work(name)

    def _keep_beat(self) -> None:
        """Move the jobs along where the wall clock was set, and make up once for what the process missed."""
        before, self._seen = self._seen, (self._steady(), self._wall())
        passed = self._seen[0] - before[0]
        jump = self._seen[1] - before[1] - passed
        set_anew = abs(jump) >= _JUMP_SECONDS
        if set_anew:
            self.timing.clock_jumps += 1
            log.warning("clock_jumped", extra={"seconds": round(jump, 3)})
        if passed >= _HELD_UP_SECONDS:
            log.warning("held_up", extra={"seconds": round(passed, 3)})
        if not set_anew and passed < _HELD_UP_SECONDS:
            return
        late: dict[str, dict[str, float]] = {}
        for job in self.get_jobs():
            if self._moved(job, jump if set_anew else 0.0):
                late.setdefault(job.args[0], {})[job.args[1]] = job.trigger.interval_length
        for kind, seconds in late.items():
            for name, later in spread(kind, seconds).items():
                self.modify_job(job_id(kind, name), next_run_time=self._now() + timedelta(seconds=later))

    def _moved(self, job: Job, jump: float) -> bool:
        """Move a job by what the clock was set, and count what it missed; whether it missed a whole interval.

        A job by the calendar goes by the wall clock: one whose hour has passed runs once, at once.
        """
        now = self._now()
        if not isinstance(job.trigger, IntervalTrigger):
            if jump < 0:
                job.modify(next_run_time=job.trigger.get_next_fire_time(None, now))
            return False
        due = job.next_run_time + timedelta(seconds=jump)
        missed = int((now - due).total_seconds() // job.trigger.interval_length)
        if missed > 0:
            self.timing.of(job.args[0]).missed += missed
        elif jump:
            job.modify(next_run_time=due)
        return missed > 0

    def _submitted(self, event: JobSubmissionEvent) -> None:
        self._due[event.job_id] = event.scheduled_run_times[-1]

    def _left_out(self, event: JobSubmissionEvent) -> None:
        if job := self.get_job(event.job_id):
            self.timing.of(job.args[0]).overruns += 1

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)
