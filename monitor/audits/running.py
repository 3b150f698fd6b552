"""Run one audit: ask, put together, lay out, and put the folder where audits are."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.durable import write_whole
from deploy.errors import DeployerUnavailable
from monitor.audit import DAEMON, AuditEntry
from monitor.audits.archive import AUDIT, OUTCOMES, Archive, canonical, is_audit
from monitor.audits.asking import ask_sections
from monitor.audits.comparing import against_audit, against_profile
from monitor.audits.document import Judged, document_of, outcomes_of
from monitor.audits.happenings import happenings, release_json
from monitor.audits.plan import AuditPlan
from monitor.audits.request import AuditRequest, Period, audit_id
from monitor.audits.sections import Section, sections_of
from monitor.errors import AuditNotWritten, ConfigError, NotMeasured, unknown_target
from monitor.judge_check import present_state
from monitor.measure import log_entries, named_release
from monitor.pausing import pause_in_force, pause_words
from monitor.site import Say, Site
from monitor.store import KnownRelease, Store
from probes.behavior import Suite, SuiteKind
from probes.errors import SuiteError
from probes.profile import ReleaseProfile
from probes.result import SweepResult
from probes.suites.sources import open_suite

__all__ = ["AuditRules", "Audits", "Written", "suites_of"]

log = logging.getLogger("alignd")

_FIRST_PERIOD = timedelta(days=30)
"""What a target's first audit tells of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRules:
    """What the settings say of audits.

    Attributes:
        private_key: Signs each audit's manifest; ``None`` leaves them unsigned.
        plans: When the daemon makes audits by itself.
        settings_sha256: Digest of all settings, secrets masked.
    """

    folder: Path = Path("audits")
    private_key: Path | None = None
    plans: tuple[AuditPlan, ...] = ()
    settings_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An audit that is done: its folder, and what a person should know of how it was written."""

    folder: Path
    notes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Audits:
    """The audits of a site's targets."""

    sites: Mapping[str, Site]
    store: Store
    clock: Callable[[], datetime]
    rules: AuditRules = field(default_factory=AuditRules)

    @property
    def archive(self) -> Archive:
        """Where they are kept."""
        return Archive(self.rules.folder)

    def request(
        self, target: str, *, suites: tuple[str, ...] = (), seed: int = 0, before: str = "",
        period: Period | None = None, scheduled: str = "", by: str = DAEMON,
    ) -> AuditRequest:  # fmt: skip
        """Return a new request, or the unfinished one that asks the same.

        Raises:
            ConfigError: There is no such target, or an audit of it is unfinished that asks something else; a plan's
                audits and those that people make do not mind each other.
        """
        if target not in self.sites:
            raise unknown_target(target, self.sites)
        now = self.clock()
        fresh = AuditRequest(
            id=audit_id(target, now), target=target, began_at=now, suites=suites, seed=seed, before=before,
            period=period, scheduled=scheduled, by=by,
        )  # fmt: skip
        for begun in self.archive.unfinished():
            if (begun.target, begun.scheduled) != (target, scheduled):
                continue
            if begun.asked != fresh.asked:
                raise ConfigError(
                    f"audit {begun.id} was begun with other arguments and is not done; ask the same to go on with it, "
                    "or drop it with --anew"
                )
            return begun
        return fresh

    def drop_unfinished(self, target: str) -> None:
        """Forget what people began of a target; what a plan began is the daemon's to end.

        Raises:
            StoreInUse: An audit is under way.
        """
        with self.archive.alone():
            for begun in self.archive.unfinished():
                if begun.target == target and not begun.scheduled:
                    self.archive.drop(begun)

    async def run(self, request: AuditRequest, say: Say = lambda _what, _share: None) -> Written:
        """Do an audit, or go on with it.

        Raises:
            ConfigError: A suite can't be used.
            StoreInUse: Another audit is under way.
            NotMeasured: The target is paused or does not answer; the audit goes on when it is run again.
            MixedReleaseError: Two releases answered.
            TargetError: The target does not answer as the expected model.
        """
        site = self.sites[request.target]
        if pause := pause_in_force(self.store, site.name, self.clock()):
            raise NotMeasured(f"target {site.name} is {pause_words(pause)}; `alignd resume {site.name}` ends that")
        where = f"audits.plans: {request.scheduled}: suites" if request.scheduled else "--suites"
        sections = sections_of(site.measure, suites_of(site, request.suites, where=where))
        self._require_before(request)
        with self.archive.alone():
            request = self.archive.begin(request)
            work = self.archive.work(request)
            if not (work / AUDIT).exists():
                await site.target.ready()
                sweeps = await ask_sections(request, sections, site.measure.in_full, site.target, work, say=say)
                await self._put_together(request, site, list(zip(sections, sweeps, strict=True)), work)
            say("write", 1.0)
            notes = await self._finish(work, self.archive.place(request.id), self._log_head(request, work))
        log.info("audited", extra={"target": site.name, "audit": request.id})
        return Written(folder=self.archive.place(request.id), notes=notes)

    async def _put_together(
        self, request: AuditRequest, site: Site, swept: list[tuple[Section, SweepResult]], work: Path
    ) -> None:
        release = await self._served(site, swept)
        for _, sweep in swept:
            self.store.append(site.name, log_entries(site.measure, sweep, purpose="audit", release=release))
        period = request.period or self._since_last(request)
        document = document_of(
            request, swept, period=period, ended_at=self.clock(), judged=_judged(site),
            settings_sha256=self.rules.settings_sha256,
            happened=await asyncio.to_thread(
                happenings, self.store, site.name, period, releases=site.releases, served=release
            ),
            release=release_json(site.releases, release),
        )  # fmt: skip
        outcomes = outcomes_of(swept, key=site.measure.site_key)
        document["comparison"] = self._comparison(request, site, document, outcomes)
        write_whole(work / OUTCOMES, canonical(outcomes), private=True)
        write_whole(work / AUDIT, canonical(document), private=True)

    def _require_before(self, request: AuditRequest) -> None:
        """Look that what is to be compared with is there, before anything is asked."""
        if request.before and is_audit(request.before):
            self.archive.read(request.before)
        elif request.before and _profiled(self.store, request.target, request.before).profile is None:
            raise ConfigError(f"--before {request.before}: this release has no profile yet; give an audit")

    async def _served(self, site: Site, swept: list[tuple[Section, SweepResult]]) -> str:
        """Name what answered: as its answers do, as the deployer does, or as the answers' fingerprint is."""
        sweep = swept[0][1]
        if named := named_release(sweep):
            return named
        try:
            return (await site.deployer.state()).active or sweep.release or site.name
        except DeployerUnavailable:
            return sweep.release or site.name

    def _comparison(
        self, request: AuditRequest, site: Site, document: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Hold an audit against the one, or the release, that was asked for; by itself against the one before it."""
        before = request.before or next(iter(self.archive.ids(request.target)), "")
        if not before:
            return None
        if is_audit(before):
            return against_audit((self.archive.read(before), self.archive.outcomes(before)), (document, outcomes))
        known = _profiled(self.store, site.name, before)
        profile = ReleaseProfile.from_json(known.profile or {})
        return against_profile(profile, document, same_way=known.profile_key == site.measure.key)

    def _log_head(self, request: AuditRequest, work: Path) -> str:
        """Put the audit in the audit log, once, and return the log's head: it seals all that was done before."""
        head = work / "log_head"
        if not head.exists():
            digest = hashlib.sha256((work / AUDIT).read_bytes()).hexdigest()
            entry = AuditEntry(
                at=self.clock(), actor=request.by, action="audited", subject=request.target,
                details={"audit": request.id, "audit_sha256": digest},
            )  # fmt: skip
            write_whole(head, self.store.append_audit(entry).hash)
        return head.read_text(encoding="ascii")

    async def _finish(self, work: Path, final: Path, log_head: str) -> tuple[str, ...]:
        """Lay the audit out in a process of its own: what that takes stays out of the daemon's memory."""
        key = self.rules.private_key
        given = {"work": str(work), "final": str(final), "private_key": str(key) if key else None}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "monitor.audits.finish", json.dumps({**given, "log_head": log_head}),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await child.communicate()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
        if child.returncode:
            last = (err.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise AuditNotWritten(f"audit {final.name} could not be written: {last}; it goes on when it is run again")
        return tuple(json.loads(out)["notes"])

    def _since_last(self, request: AuditRequest) -> Period:
        """Return the time since the last audit's period, for a plan since its own last one's, or the last month."""
        for audit in self.archive.ids(request.target):
            document = self.archive.read(audit)
            end = Period.from_json(document["period"]).end
            if end < request.began_at and (not request.scheduled or document["scheduled"] == request.scheduled):
                return Period(begin=end, end=request.began_at)
        return Period(begin=request.began_at - _FIRST_PERIOD, end=request.began_at)


def suites_of(site: Site, names: tuple[str, ...], *, where: str) -> tuple[Suite, ...]:
    """Read suites by name or path; ``harm``, ``benign`` and ``task`` are the target's own of that kind.

    Args:
        where: What names them, for messages.

    Raises:
        ConfigError: One can't be used.
    """
    measure = site.measure
    own = {
        "harm": (measure.harm,), "benign": measure.benign, "task": (measure.task,) if measure.task else (),
    }  # fmt: skip
    found: list[Suite] = []
    for name in names:
        if name == SuiteKind.TASK and not measure.task:
            raise ConfigError(f"{where}: target {site.name} has no task; set suites.task, or leave task out")
        try:
            found += own[name] if name in own else (open_suite(name, None).suite,)
        except SuiteError as error:
            raise ConfigError(f"{where}: {error}") from error
    if doubled := sorted({s.name for s in found if [f.name for f in found].count(s.name) > 1}):
        raise ConfigError(f"{where}: suite {doubled[0]} is there twice; name each once")
    return tuple(found)


def _judged(site: Site) -> Judged:
    check = present_state(site.judge_check).to_json() if site.judge_check else None
    return Judged(calibration=site.calibration, check=check)


def _profiled(store: Store, target: str, release: str) -> KnownRelease:
    known = {k.release: k for k in store.known(target)}
    if release not in known:
        raise ConfigError(
            f"--before {release}: neither an audit nor a known release of {target}; there are: "
            f"{', '.join(sorted(known)) or 'no releases yet'}"
        )
    return known[release]
