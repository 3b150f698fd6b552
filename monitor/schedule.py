"""When things happen: APScheduler says only when; what was done is in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from deploy.offers import reasserting
from monitor.clockwork import Clockwork, Work
from monitor.errors import StaleIncident
from monitor.incident import IncidentId
from monitor.policy import Order, pace
from monitor.service import Service
from monitor.site import Site

__all__ = ["Guard", "Rounds"]

Guard = Callable[[str, str, Awaitable[None]], Coroutine[None, None, bool]]
"""Awaits an action, logging under its name and subject what goes wrong; says whether it went well."""

_OWN_FAULT = "the daemon's own fault, see its log; is its disk full?"
_STORE_FAULT = "the store takes no change: locked, away, or its disk full; the daemon's log says which"
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
_TRY_STORE_SECONDS = 5.0
_NOTIFY_SECONDS = 1.0
_LOOK_OUT_SECONDS = 15.0
_AUDIT_SECONDS = 20.0
"""Between looks whether an audit is due."""


class Rounds:
    """A probing job for each target and one round over the open incidents."""

    def __init__(self, service: Service, guard: Guard) -> None:
        """Take the service whose verbs are called, and what keeps one fault from ending the watch."""
        self._service = service
        self._guard = guard
        self._scheduler = Clockwork(service.timing)
        self._seconds: dict[str, float] = {}
        self._steps: dict[IncidentId, asyncio.Task[None]] = {}
        """Each has its target's name."""
        self._lifts: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[asyncio.Task[Any], str] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._cancelled: set[IncidentId] = set()
        self._last_round = time.monotonic()

    def start(self) -> None:
        """Begin: one target is probed at once, the others are spread over their interval."""
        for begin in self._planned(self._service.sites):
            begin()
        self._every("reconcile", {"incidents": _RECONCILE_SECONDS}, self._round)
        if self._service.upkeep.retention.sweep_hours is not None:
            self._every("sweep_store", {"releases": _SWEEP_SECONDS}, self._service.upkeep.sweep)
        if self._service.audits.rules.plans:
            self._every("audit", {"audits": _AUDIT_SECONDS}, self._service.planned.look)
        self._every("try_store", {"store": _TRY_STORE_SECONDS}, self.try_store)
        self._every("purge", {"transcripts": _PURGE_SECONDS}, self._purge)
        if self._service.outbox.channels:
            self._every("notify", {"outbox": _NOTIFY_SECONDS}, self._service.outbox.round)
            self._every("forget_letters", {"outbox": _PURGE_SECONDS}, self._service.outbox.forget)
            self._every("look_out", {"conditions": _LOOK_OUT_SECONDS}, self._service.lookout.round)
        for kind in ("step", "lift"):
            self._service.timing.of(kind)  # counts from zero: what has never failed is to be seen not to have
        self._scheduler.start()

    def _planned(self, sites: Mapping[str, Site]) -> list[Callable[[], object]]:
        """Return what begins each job of these targets."""
        service = self._service
        jobs: tuple[tuple[str, Work, Callable[[Site], float | None]], ...] = (
            ("tick", self._tick, lambda s: s.schedule.interval_seconds),
            ("check_judge", service.checks.check_judge, lambda s: _JUDGE_SECONDS if s.judge_check else None),
            ("look", service.look, lambda s: s.tripwire_seconds if s.tripwire else None),
            ("prove", service.mending.prove, lambda s: s.served_seconds if s.served else None),
            ("reassert", service.mending.reassert, lambda s: _REASSERT_SECONDS if reasserting(s.deployer) else None),
        )  # fmt: skip
        begin: list[Callable[[], object]] = []
        for kind, work, seconds_of in jobs:
            seconds = {n: each for n, s in sites.items() if (each := seconds_of(s))}
            begin += self._scheduler.planned(kind, seconds, self._guarded(kind, work))
        return begin

    def _every(self, kind: str, seconds: Mapping[str, float], work: Work) -> None:
        """Do something again and again."""
        self._scheduler.every(kind, seconds, self._guarded(kind, work))

    def _guarded(self, kind: str, work: Work) -> Work:
        """Return the same work; what goes wrong is logged, counted, and done again."""

        async def guarded(name: str) -> None:
            await self._cancellable(name, self._counted(kind, name, work))

        return guarded

    def sweep_now(self, name: str) -> None:
        """Send a target's next batch now; where one is on its way, that is it."""
        self._scheduler.at_once("tick", name)

    def healthy(self) -> bool:
        """Whether the round over the incidents still goes."""
        return time.monotonic() - self._last_round < _ALIVE_SECONDS

    async def stop(self) -> None:
        """Stop, cancelling steps on their way: each is idempotent and begins anew at the next start."""
        self._scheduler.pause()
        tasks: list[asyncio.Task[None]] = [*self._steps.values(), *self._runs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._leaving, return_exceptions=True)
        self._scheduler.shutdown(wait=False)

    async def adopt(self, sites: Mapping[str, Site]) -> None:
        """Watch these targets from now on.

        A batch on its way to one that is changed or gone is cancelled; an audit of it goes on with the next look. A
        step of an incident goes on with the site that it began with, which is closed when that has ended. Where it
        fails, all targets are watched as before.
        """
        leaving = {name for name, site in self._service.sites.items() if sites.get(name) is not site}
        fresh = {name: site for name, site in sites.items() if self._service.sites.get(name) is not site}
        jobs = self._planned(fresh)  # before anything changes: what comes after it does not fail
        self._scheduler.drop(leaving)
        ending = [task for task, subject in self._runs.items() if subject in leaving]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._service.planned.let_go(leaving)
        for name, site in self._service.adopt(sites).items():
            self._seconds.pop(name, None)
            task = asyncio.create_task(_close(site, [t for t in self._steps.values() if t.get_name() == name]))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for begin in jobs:
            begin()

    async def _cancellable(self, subject: str, work: Coroutine[None, None, Any]) -> None:
        """Await what ``stop`` may cancel."""
        task = asyncio.create_task(work)
        self._runs[task] = subject
        task.add_done_callback(self._runs.pop)
        await asyncio.wait([task])

    async def _tick(self, name: str) -> None:
        urgency = await self._service.tick(name)
        seconds, _ = pace(self._service.sites[name].schedule, urgency)
        if seconds != self._seconds.get(name, self._service.sites[name].schedule.interval_seconds):
            self._seconds[name] = seconds
            self._scheduler.pace("tick", name, seconds)

    async def try_store(self, _: str) -> None:
        """Find out that a store takes changes again: until something happens nobody else would."""
        if not self._service.store.writable:
            self._service.store.try_writing()

    async def _purge(self, _: str) -> None:
        for site in self._service.sites.values():
            await site.measure.recorder.purge(self._service.clock())

    async def _round(self, _: str) -> None:
        self._last_round = time.monotonic()
        self._steps = {i: t for i, t in self._steps.items() if not t.done()}
        for incident in self._service.store.incidents(open_only=True):
            if incident.target not in self._service.sites:
                continue
            running = self._steps.get(incident.id)
            if running is None:
                work = self._counted("step", incident.id, self._carry_on)
                self._steps[incident.id] = asyncio.create_task(work, name=incident.target)
                self._cancelled.discard(incident.id)
                continue
            order = self._service.store.order_for(incident.id)
            if order and order.order is not Order.APPROVE and incident.id not in self._cancelled:
                self._cancelled.add(incident.id)
                running.cancel()

        self._lift()

    def _lift(self) -> None:
        """Begin what people said of quarantines, beside the steps: users wait."""
        self._lifts = {name: task for name, task in self._lifts.items() if not task.done()}
        for name in self._service.store.lifts():
            if name in self._service.sites and name not in self._lifts:
                task = asyncio.create_task(self._counted("lift", name, self._service.lifting.carry_on))
                self._lifts[name] = task
                self._runs[task] = name
                task.add_done_callback(self._runs.pop)

    async def _carry_on(self, incident: str) -> None:
        try:
            while True:
                before = self._service.store.load(incident)
                after = await self._service.reconcile(incident)
                if after.closed or after.version == before.version:
                    return
        except StaleIncident:
            return

    async def _counted(self, kind: str, subject: str, work: Work) -> None:
        if await self._guard(kind, subject, work(subject)):
            return
        self._service.timing.of(kind).failures += 1
        if kind in {"step", "lift"}:
            await asyncio.sleep(_FAULT_PAUSE_SECONDS)
        elif kind == "tick":
            self._service.prober.unseen(subject, _OWN_FAULT if self._service.store.writable else _STORE_FAULT)


async def _close(site: Site, steps: Sequence[asyncio.Task[None]]) -> None:
    """Close a site when the steps that use it have ended."""
    await asyncio.gather(*steps, return_exceptions=True)
    await site.aclose()
