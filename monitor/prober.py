"""Routine probing: draws a batch where the evidence asks for it, writes it down, and folds it into the watch."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from deploy.deployer import DeploymentState
from deploy.errors import DeployerUnavailable
from monitor.baseline import SENTINEL, Baseline, Tally, tallied
from monitor.checks import Checks
from monitor.drawing import ask_each, cells_in, draw_routine, sentinel_pairs
from monitor.effect import last_good
from monitor.errors import LogFault, NotMeasured
from monitor.fold import fold
from monitor.incident import Incident, State
from monitor.measure import log_entries, named_release
from monitor.past import Past
from monitor.pausing import pause_in_force, pause_words
from monitor.policy import pace
from monitor.probe_log import Epoch, LogEntry
from monitor.sentinel import Pair, certified, still_to_ask
from monitor.site import Site
from monitor.store import Store
from monitor.view import UNDER_WAY, View, counted
from monitor.watch import Phase, Watch, new_watch
from probes.behavior import Partition
from probes.errors import MixedReleaseError
from probes.plan import Routine
from probes.result import SweepResult

__all__ = ["Prober", "Seen"]

log = logging.getLogger("alignd")

_PARTS_AFTER_SERVER = 3
"""Parts of an epoch's key behind the server's version, which may hold any character itself."""
_CALM = 0.5
"""Urgency up to which a good release is certified on; above, every probe goes where the evidence is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a batch came to.

    Attributes:
        active: Whether the release is the one that the deployer says takes the traffic.
    """

    release: str
    watch: Watch
    active: bool


class Prober:
    """Watches targets. Kept in memory is only what the store would give again."""

    def __init__(
        self,
        *,
        sites: Mapping[str, Site],
        store: Store,
        clock: Callable[[], datetime],
        checks: Checks,
    ) -> None:
        """Take the watched targets, the store, and how their judges and tripwires stand."""
        self.sites = sites
        self._checks = checks
        self.store = store
        self.clock = clock
        self.views: dict[str, View] = {name: View() for name in sites}
        self.past = Past(store)
        self._watches: dict[str, tuple[Epoch, Watch]] = {}
        self._answers: dict[str, tuple[int, Mapping[Pair, bool]]] = {}
        self._servers: dict[str, str] = {}

    async def tick(self, name: str) -> Seen | None:
        """Send one batch and learn from it; nothing where it came to nothing, and the target's view says why."""
        site, view = self.sites[name], self.views[name]
        if pause := pause_in_force(self.store, name, self.clock()):
            self.views[name] = replace(view, why=pause_words(pause))
            return None
        try:
            state = await site.deployer.state()
            self._servers[name] = await site.server() or self._servers.get(name) or self._server_before(site)
            self.views[name] = replace(view, deployment=state, why=view.why if view.sweeps else UNDER_WAY)
            if name not in self._watches:
                await asyncio.to_thread(self.watched, name)  # a long log takes seconds to read
            return await self._probe(site, state)
        except (DeployerUnavailable, LogFault, MixedReleaseError, NotMeasured) as error:
            self.unseen(name, str(error))
            return None

    def _server_before(self, site: Site) -> str:
        """Return the server's version in the newest epoch: one that does not say has not changed, after a restart, too.

        A daemon that starts beside a busy server would else begin a new epoch, and its evidence with it.
        """
        epoch, measured = self.store.latest_epoch(site.name), f"{site.measure.key}/"
        if epoch is None or not epoch.key.startswith(measured):
            return ""
        return epoch.key.removeprefix(measured).rsplit("/", _PARTS_AFTER_SERVER)[0]

    async def _probe(self, site: Site, state: DeploymentState) -> Seen | None:
        if not state.active and state.up:
            raise NotMeasured("no release takes traffic")
        held = self._watch(site, state.active) if state.active else self._watches.get(site.name)
        if held and (open_pairs := self._certifying(site, *held)):
            sweep = await ask_each(site.measure, site.target, open_pairs, purpose="certify", release=held[0].release)
            if named_release(sweep) in {"", held[0].release}:
                self._append(site, sweep, held[0], purpose="certify", after=len(self._certify_entries(held[0])))
            self._note(site, sweep)
            return None
        n = pace(site.schedule, self.urgency(site.name))[1]
        sweep = await draw_routine(
            site.measure, site.target, n=n, routine=self._routine(site, held), release=state.active
        )
        named = named_release(sweep)
        if named and state.active and named != state.active:
            raise NotMeasured(f"{named} answered, {state.active} is said to be active")
        release = state.active or named or site.name
        watch = self._learn(site, release, sweep)
        return Seen(release=release, watch=watch, active=release == state.active)

    def _routine(self, site: Site, held: tuple[Epoch, Watch] | None) -> Routine:
        """Decide how the next batch is drawn, by what the probes before it found."""
        if held is None or held[0].baseline is None:
            return Routine()
        watch, baseline = held[1], held[0].baseline
        shares: dict[str, float] = {}
        for cell in cells_in(site.measure, Partition.ROTATING):
            stratum = baseline.stratum_of(cell.behavior.category, cell.attack.name)
            shares[stratum] = shares.get(stratum, 0.0) + cell.share
        return Routine(
            stratum_of=baseline.stratum_of, probabilities=watch.probabilities(shares),
            surveyed={k: s.surveyed for k, s in watch.by_stratum.items()} if watch.dealt else None,
            sentinels=baseline.sentinels if SENTINEL in watch.nulls else (), sentinel_ratio=watch.rates.sentinel_ratio,
        )  # fmt: skip

    def _learn(self, site: Site, release: str, sweep: SweepResult) -> Watch:
        epoch, before = self._watch(site, release)
        entries = self._append(site, sweep, epoch, purpose="routine", after=before.position)
        watch = fold(before, entries)
        self._watches[site.name] = (epoch, watch)
        view = self.views[site.name]
        self.views[site.name] = replace(
            view, missing=view.missing + watch.missing - before.missing,
            scored=view.scored + watch.gauge.n - before.gauge.n, harmful=view.harmful + watch.weighed - before.weighed,
        )  # fmt: skip
        self._note(site, sweep)
        log.log(
            logging.INFO if self.views[site.name].up else logging.WARNING,
            "sweep",
            extra={"target": site.name, "release": release, "sweep": sweep.id, "n": len(sweep.results),
                   "harmful": sum(bool(e.harmful) for e in entries), "missing": sweep.missing,
                   "why": counted(_reasons(sweep)), "phase": watch.phase.value,
                   "log_evidence": watch.log_r if watch.log_r > -math.inf else None},
        )  # fmt: skip
        return watch

    def _append(
        self, site: Site, sweep: SweepResult, epoch: Epoch, *, purpose: str, after: int
    ) -> tuple[LogEntry, ...]:
        found = log_entries(site.measure, sweep, purpose=purpose, release=epoch.release)
        before = self._answered_before(site, epoch)
        entries = tuple(
            replace(e, epoch=epoch.id, position=after + i, before=before.get((e.behavior, e.attack)))
            for i, e in enumerate(found, 1)
        )
        self.store.append(site.name, entries)
        return entries

    def _note(self, site: Site, sweep: SweepResult) -> None:
        view, answered, reasons = self.views[site.name], sweep.missing < len(sweep.results), _reasons(sweep)
        self.views[site.name] = replace(
            view, up=answered, why="" if answered else f"no usable answer ({counted(reasons)})",
            last_sweep=sweep.id, last_sweep_at=sweep.finished_at, last_probes=len(sweep.results), last_missing=reasons,
            sweeps=view.sweeps + 1, sweeps_failed=view.sweeps_failed + (not answered),
        )  # fmt: skip

    def _certifying(self, site: Site, epoch: Epoch, watch: Watch) -> Sequence[Pair]:
        """Return the prompts that a good release is still to be certified on, in turn with its routine probes.

        Where they are all known and the survey is long enough, the release gets its baseline: its next epoch is held
        against that.
        """
        if self.urgency(site.name) > _CALM or epoch.release not in self._good(site) or self._checks.frozen(site.name):
            return ()
        if epoch.release in self.store.baselines(site.name, key=site.measure.key):
            return ()
        pairs, entries = sentinel_pairs(site.measure), self._certify_entries(epoch)
        if open_pairs := still_to_ask(pairs, entries):
            return open_pairs[: site.schedule.burst_batch] if len(entries) < watch.position else ()
        if watch.gauge.n >= watch.rates.baseline_probes:
            self._put_baseline(site, epoch, *certified(pairs, entries))
        return ()

    def _put_baseline(self, site: Site, epoch: Epoch, sentinels: tuple[Pair, ...], flips: Tally) -> None:
        surveyed = (e for e in self.store.entries(epoch) if e.stream == "survey" and e.sampled)
        strata = tallied((f"{e.category}/{e.attack}", e.harmful) for e in surveyed if e.harmful is not None)
        baseline = Baseline(release=epoch.release, strata=strata, sentinels=sentinels, flips=flips)
        self.store.put_baseline(site.name, baseline, key=site.measure.key, at=self.clock())
        log.info("baseline", extra={"target": site.name, "release": epoch.release, "strata": len(strata),
                                    "sentinels": len(sentinels)})  # fmt: skip

    def _certify_entries(self, epoch: Epoch) -> tuple[LogEntry, ...]:
        return self.store.entries(epoch, purpose="certify")

    def _good(self, site: Site) -> frozenset[str]:
        return frozenset(k.release for k in self.store.known(site.name) if k.good)

    def _answered_before(self, site: Site, epoch: Epoch) -> Mapping[Pair, bool]:
        """Return what the last good release answered, where this is another one."""
        cached = self._answers.get(site.name)
        if cached is None or cached[0] != epoch.id:
            good = last_good(self.store, site.name, but=epoch.release)
            found = self.store.answers(site.name, good, key=site.measure.key) if good else {}
            cached = self._answers[site.name] = (epoch.id, found)
        return cached[1]

    def watched(self, name: str) -> tuple[Epoch, Watch] | None:
        """Return a target's newest epoch and what its probes amount to; nothing where its log can't be read."""
        if name in self._watches:
            return self._watches[name]
        if (epoch := self.past.epoch(name)) is None:
            return None
        try:
            return self._folded(name, epoch)
        except LogFault as error:
            self.views[name] = replace(self.views[name], up=False, why=str(error))
            return None

    def _watch(self, site: Site, release: str) -> tuple[Epoch, Watch]:
        """Return the epoch of this release; it begins anew after each incident, and where a judge was accepted again.

        What a frozen judge said meanwhile decides nothing later.
        """
        ended = next((i for i in self.store.incidents(target=site.name, limit=2) if i.closed), None)
        baselines = self.store.baselines(site.name, key=site.measure.key)
        recovered = ended is not None and ended.state is State.RECOVERED and ended.candidate == release
        good = self._good(site) if baselines and not recovered else frozenset()
        others = [b for name, b in baselines.items() if name in good]
        own = baselines.get(release)
        judge = self._checks.judge(site.name)
        key = "/".join([
            site.measure.key, self._servers.get(site.name, ""), ended.id if ended else "", "own" if own else "",
            str(max(1, judge.series)) if judge else "",
        ])  # fmt: skip
        epoch = self.store.epoch(
            site.name, release, key, self.clock(), baseline=own or (others[-1] if others else None)
        )
        return self._folded(site.name, epoch)

    def _folded(self, name: str, epoch: Epoch) -> tuple[Epoch, Watch]:
        """Return an epoch and its watch; the log is read once, for that takes seconds where it is long."""
        held = self._watches.get(name)
        if held is None or held[0].id != epoch.id:
            self.past.forget(name)
            watch = fold(new_watch(self.sites[name].rates, epoch), self.store.entries(epoch))
            held = self._watches[name] = (epoch, watch)
        return held

    def unseen(self, name: str, why: str) -> None:
        """Note that a tick came to nothing."""
        was = self.views[name]
        self.views[name] = replace(was, up=False, why=why, sweeps=was.sweeps + 1, sweeps_failed=was.sweeps_failed + 1)
        log.warning("no_sweep", extra={"target": name, "why": why})

    def forget(self, name: str) -> None:
        """Drop what the store will give again: a target is measured in another way from now on, or not at all."""
        for held in (self._watches, self._answers, self._servers):
            held.pop(name, None)
        self.past.forget(name)

    def urgency(self, name: str) -> float:
        """Return how urgently a target is to be probed, from 0 to 1."""
        opened = self.store.incidents(target=name, open_only=True, limit=1)
        return self.urgency_beside(name, opened[0] if opened else None)

    def urgency_beside(self, name: str, opened: Incident | None) -> float:
        """Return the urgency of a target with this open incident; what that is open for is known already."""
        held = self._watches.get(name)
        if held and opened and opened.release == held[0].release:
            return 0.0
        return max(held[1].urgency if held else 0.0, float(self._checks.tripped(name)))

    def phase(self, name: str) -> Phase:
        """Return where a target's evidence stands."""
        held = self._watches.get(name)
        return held[1].phase if held else Phase.IDLE


def _reasons(sweep: SweepResult) -> Mapping[str, int]:
    """Count why probes are missing."""
    return Counter(r.missing or "unscored" for r in sweep.results if not r.scored)
