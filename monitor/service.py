"""Everything the program can do: CLI, HTTP and daemon parse, call one method here, and render."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from deploy.errors import DeployError, DeployerUnavailable, StageError
from monitor.effect import Step, known_profiles, measured
from monitor.errors import ConfigError, NotMeasured, OpenIncident
from monitor.incident import Incident, IncidentId, State, advance, noted, open_incident, with_facts
from monitor.measure import draw, log_entries, named_release
from monitor.pausing import pause_in_force, pause_words
from monitor.policy import Order, due, may_open, outcome_of
from monitor.site import Say, Site
from monitor.steps import configured_good, last_good, let_go, take_step
from monitor.store import PlacedOrder, Store
from monitor.view import Activity, View
from monitor.watch import Epoch, Phase, Watch, fold, new_watch
from probes.behavior import Partition
from probes.errors import MixedReleaseError, TargetError
from probes.result import SweepResult

__all__ = ["Service"]

log = logging.getLogger("alignd")

_LEAVES_CANDIDATE = {State.PATCHING, State.DISMISSED, State.ESCALATED}
_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)


class Service:
    """The monitor's verbs. Time is a parameter; all memory that matters is in the store."""

    def __init__(self, *, sites: Mapping[str, Site], store: Store, clock: Callable[[], datetime]) -> None:
        """Take the watched targets and the store."""
        self.sites = sites
        self.store = store
        self.clock = clock
        self.activities: dict[str, Activity] = {}
        self.views: dict[str, View] = {name: View() for name in sites}
        self._watches: dict[str, tuple[Epoch, Watch]] = {}
        self._got_to_know: set[tuple[str, str]] = set()

    async def prepare(self) -> None:
        """Take in each target's configured last known good release.

        Raises:
            ConfigError: It can't be found or is no whole checkpoint.
        """
        for site in self.sites.values():
            if not site.last_known_good:
                continue
            try:
                release = await asyncio.to_thread(configured_good, site, self.clock())
            except DeployError as error:
                raise ConfigError(f"target {site.name}: last_known_good: {error}") from error
            if release not in {k.release for k in self.store.known(site.name)}:
                self.store.mark(site.name, release, good=True, at=_BEFORE_ALL)

    async def tick(self, name: str) -> Phase:
        """Send one batch of routine probes, learn from it, and open an incident where the evidence is there.

        Returns:
            How urgently the target is to be watched from now on.
        """
        site, view = self.sites[name], self.views[name]
        if pause := pause_in_force(self.store, name, self.clock()):
            self.views[name] = replace(view, why=pause_words(pause))
            return self._phase(name)
        try:
            state = await site.deployer.state()
        except DeployerUnavailable as error:
            return self.unseen(name, str(error))
        self.views[name] = view = replace(view, deployment=state)
        if not state.active and state.up:
            return self.unseen(name, "no release takes traffic")
        before = self._watch(site, state.active)[1].phase if state.active else Phase.IDLE
        n = site.schedule.batch if before is Phase.IDLE else site.schedule.burst_batch
        try:
            sweep = await draw(
                site.measure, site.target, n=n, part=Partition.ROTATING, purpose="routine", release=state.active
            )
        except (MixedReleaseError, NotMeasured) as error:
            return self.unseen(name, str(error))
        named = named_release(sweep)
        if named and state.active and named != state.active:
            return self.unseen(name, f"{named} answered, {state.active} is said to be active")
        release = state.active or named or name
        phase = self._learn(site, release, sweep, view)
        if release == state.active:
            await self._get_to_know(site, release)
        return phase

    def _learn(self, site: Site, release: str, sweep: SweepResult, view: View) -> Phase:
        epoch, watch = self._watch(site, release)
        entries = log_entries(site.measure, sweep, purpose="routine", release=release)
        self.store.append(site.name, entries, epoch=epoch)
        watch = fold(watch, entries)
        self._watches[site.name] = (epoch, watch)
        answered = sweep.missing < len(sweep.results)
        reasons = sorted({r.missing for r in sweep.results if r.missing})
        self.views[site.name] = replace(
            view, up=answered, why="" if answered else f"no usable answer ({', '.join(reasons)})",
            last_sweep_at=sweep.finished_at, sweeps=view.sweeps + 1, sweeps_failed=view.sweeps_failed + (not answered),
        )  # fmt: skip
        log.info(
            "sweep",
            extra={"target": site.name, "release": release, "sweep": sweep.id, "n": len(sweep.results),
                   "harmful": sum(bool(e.harmful) for e in entries), "missing": sweep.missing,
                   "log_evidence": watch.detector.log_r, "phase": watch.phase.value},
        )  # fmt: skip
        self._decide(site, release, watch)
        return watch.phase

    def _decide(self, site: Site, release: str, watch: Watch) -> None:
        if self.store.incidents(target=site.name, open_only=True):
            return
        if watch.phase is Phase.BREACH:
            previous = self.store.incidents(target=site.name, limit=1)
            if may_open(previous[0] if previous else None, release, healthy_since=watch.healthy_since):
                self._open(site, release, watch)
            return
        good = {k.release for k in self.store.known(site.name) if k.good}
        if watch.certified and watch.phase is Phase.IDLE and release not in good:
            self.store.mark(site.name, release, good=True, at=self.clock())
            log.info("certified", extra={"target": site.name, "release": release, "n": watch.certificate.n})

    async def _get_to_know(self, site: Site, release: str) -> None:
        """Profile a release that is marked good, once: its figures are there before anything happens to it."""
        if (site.name, release) in self._got_to_know:
            return
        good = {k.release for k in self.store.known(site.name) if k.good}
        if release not in good or self.store.incidents(target=site.name, open_only=True):
            return
        self._got_to_know.add((site.name, release))
        step = Step(site=site, store=self.store, say=self._teller(site.name))
        if release in known_profiles(step):
            return
        try:
            await measured(release, step)
        except (DeployError, MixedReleaseError, NotMeasured, TargetError) as error:
            log.warning("not_profiled", extra={"target": site.name, "release": release, "why": str(error)})
        finally:
            self.activities.pop(site.name, None)

    def _teller(self, name: str) -> Say:
        """Return what keeps a target's activity current."""

        def say(what: str, share: float) -> None:
            before = self.activities.get(name)
            since = before.since if before and before.stage == what else self.clock()
            self.activities[name] = Activity(stage=what, share=share, since=since)

        return say

    def _open(self, site: Site, release: str, watch: Watch) -> None:
        now = self.clock()
        figures = {
            "log_evidence": watch.detector.log_r, "n": watch.gauge.n, "harmful": int(watch.gauge.total),
            "missing": watch.missing, "gamma_breach": watch.rates.gamma_breach,
        }  # fmt: skip
        incident = open_incident(
            incident=IncidentId(f"{site.name}-{now:%Y%m%d-%H%M%S}"),
            target=site.name,
            release=release,
            recipes=tuple(r.plugin for r in site.recipes),
            now=now,
            note=f"{int(watch.gauge.total)} of {watch.gauge.n} routine probes of {release} answered harmfully",
        )
        try:
            self.store.create(with_facts(incident, {"evidence": figures}))
        except OpenIncident:
            return
        log.warning("incident_opened", extra={"target": site.name, "incident": incident.id, "release": release})

    async def reconcile(self, incident: str) -> Incident:
        """Carry an incident one step on: load, one effect, advance, save.

        Raises:
            StaleIncident: Somebody saved it in between; nothing was lost, the effect will be done again.
        """
        loaded = self.store.load(incident)
        if loaded.closed or loaded.target not in self.sites:
            return loaded
        site = self.sites[loaded.target]
        if order := self.store.order_for(incident):
            return await self._obey(loaded, order, site)
        if not due(loaded, self.clock()):
            return loaded
        say = self._teller(site.name)
        say(loaded.state.value.lower(), 0.0)
        effect = await take_step(loaded, site, self.store, say)
        if effect.outcome is None:
            waiting = noted(effect.incident, now=self.clock(), note=effect.note)
            return loaded if waiting == loaded else self._save(waiting, None)
        moved = advance(
            effect.incident, effect.outcome, now=self.clock(), note=effect.note, candidate=effect.candidate
        )
        if moved.state in _LEAVES_CANDIDATE:
            await self._let_go(loaded, site)
        return self._save(moved, None)

    async def _let_go(self, incident: Incident, site: Site) -> None:
        """Free what a candidate holds; where that fails it costs memory, never the incident."""
        try:
            await let_go(incident, site)
        except (DeployerUnavailable, StageError) as error:
            log.warning("not_retired", extra={"incident": incident.id, "why": str(error)})

    async def _obey(self, incident: Incident, order: PlacedOrder, site: Site) -> Incident:
        """Do what a person ordered, where it means something in this state."""
        if order.order is Order.APPROVE and incident.state is State.OPEN:
            agreed = with_facts(incident, {"approved_by": order.by})
            return self._save(noted(agreed, now=self.clock(), note=f"{order.by} approved the repair"), order)
        outcome = outcome_of(order.order, incident.state)
        if outcome is None:
            self.store.drop(order)
            log.warning(
                "order_dropped",
                extra={"incident": incident.id, "order": order.order.value, "state": incident.state.value},
            )
            return incident
        word = order.order.value.replace("_", "-")
        moved = advance(incident, outcome, now=self.clock(), note=f"{order.by} ordered: {word}")
        if moved.state in _LEAVES_CANDIDATE:
            await self._let_go(incident, site)
        return self._save(moved, order)

    def _save(self, incident: Incident, order: PlacedOrder | None) -> Incident:
        saved = self.store.save(incident, done=order)
        last = saved.events[-1]
        log.info(
            "transition",
            extra={"target": saved.target, "incident": saved.id, "state": last.state.value, "note": last.note},
        )
        if saved.closed:
            self.activities.pop(saved.target, None)
        return saved

    def order(self, incident: str, order: Order, *, by: str) -> Incident:
        """Put a person's word on the book; the daemon does it.

        Raises:
            UnknownIncident: There is none of this id.
            ConfigError: The incident has ended, or the order means nothing in its state.
        """
        loaded = self.store.load(incident)
        waits = order is Order.APPROVE and loaded.state is State.OPEN
        if loaded.closed or (outcome_of(order, loaded.state) is None and not waits):
            word = order.value.replace("_", "-")
            raise ConfigError(f"incident {incident} is {loaded.state.value}: nothing to {word}")
        self.store.place(incident, order, by=by, at=self.clock())
        return loaded

    def watched(self, name: str) -> tuple[Epoch, Watch] | None:
        """Return a target's newest epoch and what its probes amount to."""
        if name not in self._watches:
            epoch = self.store.latest_epoch(name)
            if epoch is None:
                return None
            return epoch, fold(new_watch(self.sites[name].rates), self.store.routine(epoch))
        return self._watches[name]

    def last_good(self, name: str) -> str:
        """Return the release that a breach would be rolled back to."""
        current = self.watched(name)
        return last_good(self.store, name, but=current[0].release if current else "")

    async def aclose(self) -> None:
        """Close connections and the store."""
        for site in self.sites.values():
            await site.target.aclose()
            await site.measure.aclose()
        self.store.close()

    def _watch(self, site: Site, release: str) -> tuple[Epoch, Watch]:
        """Return the epoch of this release; it begins anew after each incident of the target."""
        ended = next((i.id for i in self.store.incidents(target=site.name, limit=2) if i.closed), "")
        previous = self._watches.get(site.name)
        epoch = self.store.epoch(site.name, release, f"{site.measure.key}/{ended}", self.clock())
        if previous is None or previous[0].id != epoch.id:
            self._watches[site.name] = (epoch, fold(new_watch(site.rates), self.store.routine(epoch)))
        return self._watches[site.name]

    def unseen(self, name: str, why: str) -> Phase:
        """Note that a tick came to nothing."""
        view = self.views[name]
        self.views[name] = replace(
            view, up=False, why=why, sweeps=view.sweeps + 1, sweeps_failed=view.sweeps_failed + 1
        )
        log.warning("no_sweep", extra={"target": name, "why": why})
        return self._phase(name)

    def _phase(self, name: str) -> Phase:
        held = self._watches.get(name)
        return held[1].phase if held else Phase.IDLE
