"""Carrying incidents on: load, one effect, advance, save. A person's orders come first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from deploy.errors import DeployError
from monitor.changing import note_left, note_staged
from monitor.checks import Checks
from monitor.effect import staged
from monitor.holding import approved, begun, given_up, held
from monitor.incident import Incident, Outcome, State, Wait, advance, noted
from monitor.ordering import refusal, way_back
from monitor.outbox import Outbox
from monitor.policy import due, outcome_of, waits_for_person
from monitor.quarantine import tell, told
from monitor.railing import Railing
from monitor.rails import Hold
from monitor.site import Site
from monitor.spans import Spans
from monitor.steps import let_go, take_step
from monitor.store import PlacedOrder, Store
from monitor.view import Activities

__all__ = ["Reconciler"]

log = logging.getLogger("alignd")

_LEAVES_CANDIDATE = {State.PATCHING, State.DISMISSED, State.ESCALATED}


class Reconciler:
    """Does what an incident's state asks for, once at a time."""

    def __init__(
        self, *, sites: Mapping[str, Site], store: Store, clock: Callable[[], datetime], checks: Checks,
        activities: Activities, up: Callable[[str], bool | None], outbox: Outbox, spans: Spans,
    ) -> None:  # fmt: skip
        """Take the targets, the store, what freezes repairs, what is shown, who answers, who is told, and spans."""
        self._sites = sites
        self._store = store
        self._clock = clock
        self._activities = activities
        self.railing = Railing(sites=sites, store=store, clock=clock, checks=checks, up=up)
        self._outbox = outbox
        self._spans = spans

    async def reconcile(self, incident: str) -> Incident:
        """Carry an incident one step on, where no rail stands.

        Raises:
            StaleIncident: Somebody saved it in between; nothing was lost, the effect will be done again.
        """
        loaded = self._store.load(incident)
        if loaded.closed or loaded.target not in self._sites:
            return loaded
        with self._spans.step(loaded) as span:
            after = await self._carried_on(loaded, self._sites[loaded.target])
            span.note({"alignd.next_state": after.state.value})
            if after.version == loaded.version:
                span.drop()
        if after.closed:
            self._spans.ended(after)
        return after

    async def _carried_on(self, loaded: Incident, site: Site) -> Incident:
        lift = self._store.lifts().get(loaded.target)
        if lift and lift.incident == loaded.id and not told(loaded, lift):
            return self._save(tell(loaded, lift, self._clock()), None)
        if order := self._store.order_for(loaded.id):
            return await self._obey(loaded, order, site)
        if not due(loaded, self._clock()):
            return loaded
        facts, holds = await self.railing.standing(loaded)
        if waits_for_person(loaded, site.mode):
            holds = tuple(h for h in holds if h.name == "judge")
        if holds:
            return await self._hold(loaded, holds, site)
        if (ready := begun(facts, site.rails, self._clock())) != loaded:
            return self._save(ready, None)
        return await self._step(loaded, site)

    async def _step(self, loaded: Incident, site: Site) -> Incident:
        """Do the effect of the state that an incident is in."""
        with self._activities.under_way(site.name) as say:
            say(loaded.state.value.lower(), 0.0)
            effect = await take_step(loaded, site, self._store, say)
        if effect.outcome is None or isinstance(effect.outcome, Wait):
            waiting = noted(effect.incident, now=self._clock(), note=effect.note, waits_for=effect.outcome)
            return loaded if waiting == loaded else self._save(waiting, None)
        moved = advance(
            effect.incident, effect.outcome, now=self._clock(), note=effect.note, candidate=effect.candidate
        )
        return await self._go_on(loaded, moved, site, None)

    async def _hold(self, loaded: Incident, holds: tuple[Hold, ...], site: Site) -> Incident:
        """Leave an incident in its state while rails stand; after too long, a person takes it over."""
        now = self._clock()
        if given_up(loaded, site.rails, holds, now):
            note = f"held for {site.rails.give_up_hours:g} h by {', '.join(h.name for h in holds)}; a person is needed"
            return await self._go_on(loaded, advance(loaded, Outcome.GIVEN_UP, now=now, note=note), site, None)
        waiting = held(loaded, holds, now)
        return loaded if waiting == loaded else self._save(waiting, None)

    async def _obey(self, incident: Incident, order: PlacedOrder, site: Site) -> Incident:
        """Do what a person ordered, where it still does something."""
        why = refusal(incident, order.order, site, good=way_back(incident, self._store))
        outcome = outcome_of(order.order, incident.state)
        if not why and outcome is None:
            return self._save(approved(incident, by=order.by, now=self._clock()), order)
        if why or outcome is None:
            self._store.drop(order, at=self._clock())
            log.warning(
                "order_dropped",
                extra={"incident": incident.id, "order": order.order.value, "state": incident.state.value, "why": why},
            )
            return incident
        word = order.order.value.replace("_", "-")
        moved = advance(incident, outcome, now=self._clock(), note=f"{order.by} ordered: {word}")
        return await self._go_on(incident, moved, site, order)

    async def _go_on(self, before: Incident, moved: Incident, site: Site, order: PlacedOrder | None) -> Incident:
        """Save a transition, and then free what its candidate holds.

        Not the other way round: a daemon that is killed in between would repeat the effect, and bring the candidate up
        a second time. It is noted first, so that whoever comes after a kill stops it.
        """
        if moved.state not in _LEAVES_CANDIDATE:
            return self._save(moved, order)
        with _at_the_cost_of_memory(before):
            if candidate := staged(before):
                await asyncio.to_thread(note_staged, site, [candidate])
        saved = self._save(moved, order)
        with _at_the_cost_of_memory(before):
            await let_go(before, site)
            await asyncio.to_thread(note_left, site, staged(before))
        return saved

    def _save(self, incident: Incident, order: PlacedOrder | None) -> Incident:
        saved = self._store.save(incident, done=order, letters=self._outbox.of(incident))
        last = saved.events[-1]
        log.info(
            "transition",
            extra={"target": saved.target, "incident": saved.id, "state": last.state.value, "note": last.note},
        )
        return saved


@contextmanager
def _at_the_cost_of_memory(incident: Incident) -> Iterator[None]:
    """Go on where a candidate can't be freed: that costs memory, never the incident."""
    try:
        yield
    except (DeployError, OSError) as error:
        log.warning("not_retired", extra={"incident": incident.id, "why": str(error)})
