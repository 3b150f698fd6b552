"""Everything the program can do: CLI, HTTP and daemon parse, call one method here, and render."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from deploy.durable import clear_scratch
from deploy.errors import DeployError
from monitor.audits.planned import PlannedAudits
from monitor.audits.running import AuditRules, Audits
from monitor.changing import retire_left
from monitor.checks import Checks
from monitor.deploying import Asked, Deployment, deploy
from monitor.effect import Step, known_profiles, measured
from monitor.errors import ConfigError, NotMeasured, unknown_target
from monitor.figures import Figures
from monitor.incident import Incident
from monitor.lifting import Lifting
from monitor.lookout import Lookout
from monitor.mending import Mending
from monitor.opening import Opening
from monitor.ordering import why_not
from monitor.outbox import Outbox
from monitor.pausing import pause_in_force, pause_words
from monitor.plain_text import plain
from monitor.planning import Plan, plan
from monitor.policy import Order
from monitor.probe_log import Epoch
from monitor.prober import Prober, Seen
from monitor.reconciling import Reconciler
from monitor.site import Say, Site
from monitor.spans import NO_SPANS, Spans, Value
from monitor.steps import clear_left, configured_good
from monitor.store import BreakerReset, Store
from monitor.timing import Timing
from monitor.upkeep import Retention, Upkeep
from monitor.view import Activities, Configuration, View, view_of
from monitor.watch import Phase, Watch
from probes.errors import MixedReleaseError, TargetError

__all__ = ["Service"]

log = logging.getLogger("alignd")

_JUDGE_HOURS = 0.25
"""A judge that was not checked for so long is checked before its word opens an incident."""
_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
_PROFILES_AT_ONCE = 4
"""A fleet is certified within minutes; all its profiles together would hold up everybody's schedule."""


class Service:
    """The monitor's verbs. Time is a parameter; all memory that matters is in the store."""

    def __init__(
        self, *, sites: dict[str, Site], store: Store, clock: Callable[[], datetime],
        retention: Retention | None = None, audits: AuditRules | None = None, outbox: Outbox | None = None,
        spans: Spans = NO_SPANS,
    ) -> None:  # fmt: skip
        """Take the watched targets, the store, when releases may go, how audits are made, who is told, and spans."""
        self.sites = sites
        self.store = store
        self.clock = clock
        self.activities = Activities(clock)
        self.timing = Timing()
        self.configuration = Configuration(loaded_at=clock())
        self.checks = Checks(sites=sites, clock=clock)
        self.audits = Audits(sites=sites, store=store, clock=clock, rules=audits or AuditRules())
        self.planned = PlannedAudits(audits=self.audits)
        self.upkeep = Upkeep(sites, store, clock, retention or Retention())
        self.mending = Mending(sites=sites, store=store, clock=clock)
        self.spans = spans
        self.outbox = outbox or Outbox(channels=(), book=store, clock=clock)
        self.reconciler = Reconciler(
            sites=sites, store=store, clock=clock, checks=self.checks, activities=self.activities, up=self._answers,
            outbox=self.outbox, spans=spans,
        )
        self.prober = Prober(sites=sites, store=store, clock=clock, checks=self.checks)
        self.lifting = Lifting(sites=sites, store=store, clock=clock, prober=self.prober)
        self.opening = Opening(
            sites=sites, store=store, clock=clock, outbox=self.outbox, watched=self.prober.watched
        )
        self.figures = Figures()
        self.lookout = Lookout(
            store=store, clock=clock, prober=self.prober, checks=self.checks, mending=self.mending, outbox=self.outbox
        )
        self._got_to_know: set[tuple[str, str]] = set()
        self._profiling = asyncio.Semaphore(_PROFILES_AT_ONCE)

    async def prepare(self) -> None:
        """Clear away what killed imports and deployments left, and take in each target's last known good release.

        Raises:
            ConfigError: It can't be found or is no whole checkpoint.
        """
        for folder in {s.releases for s in self.sites.values()}:
            for scratch in (folder, folder / ".work"):
                await asyncio.to_thread(clear_scratch, scratch)
        await self.take_in(self.sites.values())

    async def take_in(self, sites: Iterable[Site]) -> None:
        """Clear away what killed work left of these targets, and take in their last known good releases.

        Raises:
            ConfigError: One can't be found or is no whole checkpoint.
        """
        for site in sites:
            with self.activities.under_way(site.name) as say:
                await retire_left(Step(site=site, store=self.store, say=say))
            await asyncio.to_thread(clear_left, site, self.store)
            if not site.last_known_good:
                continue
            try:
                release = await asyncio.to_thread(configured_good, site, self.clock())
            except DeployError as error:
                raise ConfigError(f"target {site.name}: last_known_good: {error}") from error
            if release not in {k.release for k in self.store.known(site.name)}:
                self.store.mark(site.name, release, good=True, at=self.clock(), since=_BEFORE_ALL)

    def adopt(self, sites: Mapping[str, Site]) -> Mapping[str, Site]:
        """Watch these targets from now on, and no others; return the sites that are let go.

        A site that was there before stays as it is. Of others the store gives back all that matters.
        """
        gone = {name: site for name, site in self.sites.items() if sites.get(name) is not site}
        self.sites.clear()
        self.sites.update(sites)
        for name in gone:
            self.prober.forget(name)
            self.checks.forget(name)
        for name in sites:
            self.prober.views.setdefault(name, View())
            self.mending.mends.setdefault(name, 0)
        return gone

    async def tick(self, name: str) -> float:
        """Send one batch of routine probes, learn from it, and open an incident where the evidence is there.

        Returns:
            How urgently the target is to be watched from now on, from 0 (idle) to 1 (burst).
        """
        with self.spans.span("alignd.sweep", {"alignd.target": name}) as span:
            seen = await self.prober.tick(name)
            span.note({"alignd.why": plain(self.views[name].why, most=200)} if seen is None else _told(seen))
        if seen:
            site = self.sites[name]
            if seen.watch.phase is Phase.BREACH and not self.store.incidents(target=name, open_only=True):
                await self.checks.check_judge(name, hours=_JUDGE_HOURS)
            self._decide(site, seen.release, seen.watch)
            if seen.active:
                await self._get_to_know(site, seen.release)
            self.figures.of(name, self.watched(name))  # worked out here, so that a scrape of many targets is quick
        return self.prober.urgency(name)

    def _decide(self, site: Site, release: str, watch: Watch) -> None:
        if self.store.incidents(target=site.name, open_only=True) or self.checks.frozen(site.name):
            return
        if watch.phase is Phase.BREACH:
            self.opening.on_evidence(site, release, watch)
            return
        good = {k.release for k in self.store.known(site.name) if k.good}
        if watch.certified and watch.phase is Phase.IDLE and release not in good:
            self.store.mark(site.name, release, good=True, at=self.clock())
            log.info("certified", extra={"target": site.name, "release": release, "n": watch.certificate.n})

    async def look(self, name: str) -> None:
        """Look at a target's first tokens, where its release is known."""
        if not pause_in_force(self.store, name, self.clock()) and (current := self.watched(name)):
            await self.checks.look(name, current[0])

    async def _get_to_know(self, site: Site, release: str) -> None:
        """Profile a release that is marked good, once: its figures are there before anything happens to it."""
        if (site.name, release) in self._got_to_know or self._profiling.locked():
            return
        good = {k.release for k in self.store.known(site.name) if k.good}
        if release not in good or self.store.incidents(target=site.name, open_only=True):
            return
        self._got_to_know.add((site.name, release))
        try:
            with self.activities.under_way(site.name) as say:
                step = Step(site=site, store=self.store, say=say)
                if release not in known_profiles(step):
                    async with self._profiling:
                        await measured(release, step)
        except (DeployError, MixedReleaseError, NotMeasured, TargetError) as error:
            log.warning("not_profiled", extra={"target": site.name, "release": release, "why": str(error)})

    @property
    def views(self) -> Mapping[str, View]:
        """What the last tick saw, by target."""
        return self.prober.views

    def view(self, name: str) -> View:
        """Return what the last tick saw; what the store's newest sweep tells, where this process did not tick yet."""
        held = self.prober.views[name]
        if held != View():
            return held
        interval_seconds = self.sites[name].schedule.interval_seconds
        return view_of(self.prober.past.sweep(name), now=self.clock(), interval_seconds=interval_seconds)

    def _answers(self, name: str) -> bool | None:
        """Say whether a target answers its probes; ``None`` where it was not asked yet, or serves nobody."""
        view = self.view(name)
        return view.up if view.last_sweep_at and not view.quarantine else None

    async def reconcile(self, incident: str) -> Incident:
        """Carry an incident one step on.

        Raises:
            StaleIncident: Somebody saved it in between; nothing was lost, the effect will be done again.
        """
        after = await self.reconciler.reconcile(incident)
        if after.target in self.sites:
            await self.lifting.look(after)
        return after

    def order(self, incident: str, order: Order, *, by: str) -> Incident:
        """Put a person's word on the book; the daemon does it.

        Raises:
            UnknownIncident: There is none of this id.
            ConfigError: The order would do nothing; the message says why, and what to do instead.
        """
        loaded = self.store.load(incident)
        if why := why_not(loaded, order, self.sites.get(loaded.target), self.store):
            word = order.value.replace("_", "-")
            raise ConfigError(f"incident {incident} is {loaded.state.value} and `{word}` would do nothing: {why}")
        self.store.place(incident, order, by=by, at=self.clock())
        return loaded

    async def plan(self, incident: str) -> Plan:
        """Say what would be done about an incident from here; changes nothing.

        Raises:
            UnknownIncident: There is none of this id.
            ConfigError: Its target is not in the settings.
        """
        found = self.store.load(incident)
        if found.target not in self.sites:
            raise ConfigError(f"incident {incident}: target {found.target!r} is not in the settings")
        facts = await self.reconciler.railing.facts(found)
        return plan(found, self.sites[found.target], self.store, facts, self.clock())

    def reset_breaker(self, name: str, *, by: str, why: str) -> None:
        """Let the daemon repair a target again whose repairs failed in a row.

        Raises:
            ConfigError: There is no such target.
        """
        if name not in self.sites:
            raise unknown_target(name, self.sites)
        self.store.reset_breaker(BreakerReset(target=name, at=self.clock(), by=by, why=why))
        log.warning("breaker_reset", extra={"target": name, "by": by, "why": why})

    async def deploy(self, name: str, asked: Asked, say: Say) -> Deployment:
        """Hold a release against the gates before it serves, and promote it if it passes.

        Raises:
            NotMeasured: The target is paused, or its judge is frozen: nothing can be decided by its word.
            And as ``monitor.deploying.deploy``.
        """
        if pause := pause_in_force(self.store, name, self.clock()):
            raise NotMeasured(f"target {name} is {pause_words(pause)}; `alignd resume {name}` ends that")
        await self.checks.check_judge(name, hours=_JUDGE_HOURS)
        if why := self.checks.frozen(name):
            raise NotMeasured(f"target {name}: {why}")
        return await deploy(asked, Step(site=self.sites[name], store=self.store, say=say))

    def watched(self, name: str) -> tuple[Epoch, Watch] | None:
        """Return a target's newest epoch and what its probes amount to."""
        return self.prober.watched(name)

    async def aclose(self) -> None:
        """Close connections and the store."""
        await self.outbox.aclose()
        await self.planned.aclose()
        for site in self.sites.values():
            await site.aclose()
        await asyncio.to_thread(self.spans.close)
        self.store.close()


def _told(seen: Seen) -> dict[str, Value]:
    return {"alignd.release": seen.release, "alignd.phase": seen.watch.phase.value}
