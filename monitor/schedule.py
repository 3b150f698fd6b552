"""When things happen: APScheduler says only when; what was done is in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from deploy.offers import reasserting
from monitor.errors import StaleIncident
from monitor.incident import IncidentId
from monitor.policy import Order, pace
from monitor.service import Service

__all__ = ["Guard", "Rounds"]

Work = Callable[[str], Coroutine[None, None, None]]
"""What is done for a target, by its name."""
Guard = Callable[[str, str, Awaitable[None]], Coroutine[None, None, bool]]
"""Awaits an action, logging under its name and subject what goes wrong; says whether it went well."""

_RECONCILE_SECONDS = 1.0
_FAULT_PAUSE_SECONDS = 10.0
_ALIVE_SECONDS = 30.0
_JUDGE_SECONDS = 60.0
"""Between looks whether a check of the judge is due."""
_REASSERT_SECONDS = 15.0
"""Between looks whether a server came back without what it should serve: its users get the base, or an error."""
_SWEEP_SECONDS = 600.0
"""Between looks whether a sweep of the release store is due: one that had to wait is made up for soon."""
_PURGE_SECONDS = 86_400.0


class Rounds:
    """A probing job for each target and one round over the open incidents."""

    def __init__(self, service: Service, guard: Guard) -> None:
        """Take the service whose verbs are called, and what keeps one fault from ending the watch."""
        self._service = service
        self._guard = guard
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._seconds: dict[str, float] = {}
        self._steps: dict[IncidentId, asyncio.Task[None]] = {}
        self._ticks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[IncidentId] = set()
        self._last_round = time.monotonic()

    def start(self) -> None:
        """Begin; each target's first batch is sent at once."""
        for name, site in self._service.sites.items():
            self._seconds[name] = site.schedule.interval_seconds
            self._scheduler.add_job(
                self._tick, self._trigger(name), args=[name], id=f"tick-{name}", max_instances=1, coalesce=True,
                misfire_grace_time=60, next_run_time=self._service.clock(),
            )  # fmt: skip
            if site.judge_check:
                self._every(_JUDGE_SECONDS, "check_judge", self._service.checks.check_judge, name)
            if site.tripwire:
                self._every(site.tripwire_seconds, "look", self._service.look, name)
            if site.served:
                self._every(site.served_seconds, "prove", self._service.mending.prove, name)
            if reasserting(site.deployer):
                self._every(_REASSERT_SECONDS, "reassert", self._service.mending.reassert, name)
        self._scheduler.add_job(
            self._round, IntervalTrigger(seconds=_RECONCILE_SECONDS, timezone="UTC"), id="reconcile", max_instances=1,
            coalesce=True, misfire_grace_time=60,
        )  # fmt: skip
        if self._service.upkeep.retention.sweep_hours is not None:
            self._every(_SWEEP_SECONDS, "sweep_store", self._service.upkeep.sweep, "releases")
        self._scheduler.add_job(
            self._purge, IntervalTrigger(seconds=_PURGE_SECONDS, timezone="UTC"), id="purge", max_instances=1,
            coalesce=True, misfire_grace_time=3600, next_run_time=self._service.clock(),
        )  # fmt: skip
        self._scheduler.start()

    def _every(self, seconds: float, action: str, work: Work, name: str) -> None:
        """Do something for a target again and again, beside its batches."""
        self._scheduler.add_job(
            self._beside, IntervalTrigger(seconds=seconds, timezone="UTC"), args=[action, work, name],
            id=f"{action}-{name}", max_instances=1, coalesce=True, misfire_grace_time=60,
            next_run_time=self._service.clock(),
        )  # fmt: skip

    def healthy(self) -> bool:
        """Whether the round over the incidents still goes."""
        return time.monotonic() - self._last_round < _ALIVE_SECONDS

    async def stop(self) -> None:
        """Stop, cancelling steps on their way: each is idempotent and begins anew at the next start."""
        self._scheduler.shutdown(wait=False)
        tasks: list[asyncio.Task[None]] = [*self._steps.values(), *self._ticks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _trigger(self, name: str) -> IntervalTrigger:
        return IntervalTrigger(seconds=self._seconds[name], timezone="UTC")

    async def _beside(self, action: str, work: Work, name: str) -> None:
        await self._cancellable(self._guard(action, name, work(name)))

    async def _tick(self, name: str) -> None:
        await self._cancellable(self._guarded("tick", name, self._tick_one(name)))

    async def _cancellable(self, work: Coroutine[None, None, Any]) -> None:
        """Await what ``stop`` may cancel."""
        task = asyncio.create_task(work)
        self._ticks.add(task)
        task.add_done_callback(self._ticks.discard)
        await asyncio.wait([task])

    async def _tick_one(self, name: str) -> None:
        urgency = await self._service.tick(name)
        seconds, _ = pace(self._service.sites[name].schedule, urgency)
        if seconds != self._seconds[name]:
            self._seconds[name] = seconds
            self._scheduler.reschedule_job(f"tick-{name}", trigger=self._trigger(name))

    async def _purge(self) -> None:
        for site in self._service.sites.values():
            await site.measure.recorder.purge(self._service.clock())

    async def _round(self) -> None:
        self._steps = {i: t for i, t in self._steps.items() if not t.done()}
        for incident in self._service.store.incidents(open_only=True):
            if incident.target not in self._service.sites:
                continue
            running = self._steps.get(incident.id)
            if running is None:
                work = self._guarded("step", incident.id, self._carry_on(incident.id))
                self._steps[incident.id] = asyncio.create_task(work)
                self._cancelled.discard(incident.id)
                continue
            order = self._service.store.order_for(incident.id)
            if order and order.order is not Order.APPROVE and incident.id not in self._cancelled:
                self._cancelled.add(incident.id)
                running.cancel()
        self._last_round = time.monotonic()

    async def _carry_on(self, incident: IncidentId) -> None:
        try:
            while True:
                before = self._service.store.load(incident)
                after = await self._service.reconcile(incident)
                if after.closed or after.version == before.version:
                    return
        except StaleIncident:
            return

    async def _guarded(self, action: str, subject: str, work: Coroutine[None, None, None]) -> None:
        if await self._guard(action, subject, work):
            return
        if action == "step":
            await asyncio.sleep(_FAULT_PAUSE_SECONDS)
        else:
            self._service.prober.unseen(subject, "the daemon's own fault, see its log; is its disk full?")
