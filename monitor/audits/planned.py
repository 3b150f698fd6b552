"""Audits by the calendar: one at a time, each meant before it begins, and what was missed made up for once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from deploy.durable import remove_folder, write_whole
from deploy.errors import CheckpointError, StoreInUse
from monitor.audits.archive import canonical
from monitor.audits.plan import AuditPlan
from monitor.audits.request import AuditRequest
from monitor.audits.running import Audits
from monitor.cron import newest_due
from monitor.errors import MonitorError
from monitor.pausing import pause_in_force
from probes.errors import MixedReleaseError, RecordError, RecordLost, TargetError

__all__ = ["PlannedAudits"]

log = logging.getLogger("alignd")

_AGAIN = timedelta(minutes=15)
"""Until an audit that came to nothing is tried again."""
_BOOK = "plan.json"
_FAULTS = (CheckpointError, MixedReleaseError, MonitorError, RecordError, RecordLost, TargetError)


@dataclass(slots=True, kw_only=True)
class PlannedAudits:
    """Keeps to the plans. The archive remembers what was meant and when; counts are since the start."""

    audits: Audits
    failed: Counter[str] = field(default_factory=Counter)
    why: dict[str, str] = field(default_factory=dict)
    newest: dict[str, datetime] = field(default_factory=dict)
    """When each target's newest audit began."""
    _running: asyncio.Task[None] | None = None
    _asked: str = ""
    """The target of the audit under way."""
    _not_before: dict[str, datetime] = field(default_factory=dict)
    """For each plan and target: one plan's fault holds up no other."""

    async def look(self, _: str = "") -> None:
        """Put down what is due, and begin the next audit where none is under way."""
        self._note_newest()
        if self._running and not self._running.done():
            return
        ended, self._running = self._running, None
        if ended:
            ended.result()  # a fault of the daemon's own is told by whoever looks
        try:
            self._put_down()
        except StoreInUse:  # a person audits; what is due stays due
            return
        if request := next(self._ready(), None):
            self._running, self._asked = asyncio.create_task(self._make(request)), request.target

    async def settled(self) -> None:
        """Wait for the audit that is under way, if one is."""
        if self._running:
            await asyncio.wait([self._running])

    async def let_go(self, targets: Container[str]) -> None:
        """Cancel the audit that is under way where it is of one of these; the next look goes on with it."""
        if self._asked in targets:
            await self.aclose()
            self._running = None

    async def aclose(self) -> None:
        """Cancel the audit that is under way; the next start goes on with it."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def to_json(self, target: str) -> dict[str, Any]:
        """Return what is known of a target's audits, in plain values."""
        planned = any(target in self._targets(p) for p in self.audits.rules.plans)
        at = self.newest.get(target)
        return {
            "newest_at": at.isoformat() if at else None, "failed": self.failed[target] if planned else None,
            "why": self.why.get(target, ""),
        }  # fmt: skip

    def _targets(self, plan: AuditPlan) -> tuple[str, ...]:
        sites = self.audits.sites
        return tuple(t for t in plan.targets if t in sites) if plan.targets else tuple(sites)

    def _put_down(self) -> None:
        """Write down each audit that is due before its moment is crossed off: a kill between the two loses nothing."""
        now, archive = self.audits.clock(), self.audits.archive
        book = self._book()
        entries = {_key(p.name, t): (p, t) for p in self.audits.rules.plans for t in self._targets(p)}
        crossed = {k: book.get(k, now) for k in entries}
        due = [k for k, (p, _) in entries.items() if newest_due(p.cron, p.time_zone, since=crossed[k], now=now)]
        begun = {r: _key(r.scheduled, r.target) for r in archive.unfinished() if r.scheduled}
        strayed = [
            r for r, key in begun.items()
            if r.target in self.audits.sites and (key not in entries or entries[key][0].suites != r.suites)
        ]  # fmt: skip
        if not due and not strayed and crossed == book:
            return
        with archive.alone():
            for request in strayed:
                self._set_right(request, entries[begun[request]][0] if begun[request] in entries else None)
            for key in due:
                plan, target = entries[key]
                if key not in begun.values():
                    archive.begin(self.audits.request(target, suites=plan.suites, scheduled=plan.name))
                crossed[key] = now
            path = archive.folder / ".work" / _BOOK
            write_whole(path, canonical({k: at.isoformat() for k, at in crossed.items()}), private=True)

    def _set_right(self, request: AuditRequest, plan: AuditPlan | None) -> None:
        """Drop what a plan began that is gone or asks something else by now, in favour of what it asks."""
        archive = self.audits.archive
        if plan:
            archive.begin(replace(request, suites=plan.suites).anew(self.audits.clock()))
        archive.drop(request)
        why = f"plan {request.scheduled} " + ("asks other suites now" if plan else "is gone")
        log.info("audit_dropped", extra={"target": request.target, "audit": request.id, "why": why})

    def _book(self) -> dict[str, datetime]:
        try:
            found = json.loads((self.audits.archive.folder / ".work" / _BOOK).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {k: datetime.fromisoformat(at) for k, at in found.items()}

    def _ready(self) -> Iterator[AuditRequest]:
        """Return what was put down and may begin: no pause, no open incident, not tried a moment ago."""
        now, store = self.audits.clock(), self.audits.store
        for request in self.audits.archive.unfinished():
            name = request.target
            if not request.scheduled or name not in self.audits.sites:
                continue
            if now < self._not_before.get(_key(request.scheduled, name), now):
                continue
            if pause_in_force(store, name, now) or store.incidents(target=name, open_only=True):
                continue
            yield request

    async def _make(self, request: AuditRequest) -> None:
        name = request.target
        try:
            written = await self.audits.run(request)
        except StoreInUse:
            return
        except _FAULTS as error:
            self.failed[name] += 1
            self.why[name] = str(error)
            self._not_before[_key(request.scheduled, name)] = self.audits.clock() + _AGAIN
            log.warning("audit_failed", extra={"target": name, "audit": request.id, "why": str(error)})
            if isinstance(error, MixedReleaseError | RecordError) and not isinstance(error, RecordLost):
                self._begin_anew(request)
            return
        self.why.pop(name, None)
        for note in written.notes:
            log.info("audit_note", extra={"target": name, "audit": request.id, "note": note})
        self._note_newest()
        self._prune(request)

    def _begin_anew(self, request: AuditRequest) -> None:
        """Put the same audit down once more: its answers are of two releases, or of settings that have changed.

        The old one goes last: a kill in between leaves both. While a person audits it stays, and fails once more.
        """
        archive = self.audits.archive
        with suppress(StoreInUse), archive.alone():
            archive.begin(request.anew(self.audits.clock()))
            archive.drop(request)

    def _prune(self, request: AuditRequest) -> None:
        """Remove a plan's oldest audits, where it says how many stay."""
        keep = next((p.keep for p in self.audits.rules.plans if p.name == request.scheduled), None)
        if keep is None:
            return
        archive = self.audits.archive
        mine = [a for a in archive.ids(request.target) if archive.read(a)["scheduled"] == request.scheduled]
        for audit in mine[keep:]:
            remove_folder(archive.place(audit))
            log.info("audit_removed", extra={"target": request.target, "audit": audit})

    def _note_newest(self) -> None:
        self.newest = self.audits.archive.newest()


def _key(plan: str, target: str) -> str:
    return f"{plan}/{target}"
