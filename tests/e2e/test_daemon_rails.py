"""Incidents that rails hold: nothing is done while one stands, and they go on when it no longer does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.testing import FakeDeployer
from monitor.errors import ConfigError
from monitor.incident import Incident, IncidentId, Outcome, State, advance, open_incident, with_facts
from monitor.metrics import render
from monitor.policy import Containment, Mode, Order
from monitor.rails import RAILS, Rails
from monitor.service import Service
from monitor.site import Site
from monitor.status import status_json
from monitor.store import Pause, Store
from monitor.tables import status_tables
from monitor.windows import Window
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import World

NEVER = Rails(memory_free_gb=0, disk_free_gb=0, cooldown_hours=0)


def railed(**rails: object) -> Callable[[Site, Store], Site]:
    return lambda site, _: replace(site, rails=replace(NEVER, **rails))  # type: ignore[arg-type]


def effects(world: World) -> list[tuple[str, str]]:
    """What was changed outside, without the good release's own profile."""
    return [e for e in world.deployer.effects if e[1] != world.good.id or e[0] == "promote"]


def past(service: Service, target: str, *, ended: timedelta | None, began: timedelta, base: str = "") -> Incident:
    """Put down an incident whose repair failed, or is under way."""
    at = service.clock()
    opened = open_incident(
        incident=IncidentId(f"{target}-{began}"), target=target, release="r", recipes=("a",), now=at - began, note="n"
    )
    service.store.create(opened)
    facts = {"began": {"repair": (at - began).isoformat()}, "base": base}
    found = service.store.save(with_facts(opened, facts))
    if ended is not None:
        found = service.store.save(advance(found, Outcome.FAILURE, now=at - ended, note="n"))
    return found


def metrics(service: Service, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by its labels'."""
    body, _ = render(lambda: status_json(service, series=0))
    families = text_string_to_metric_families(body.decode())
    return {tuple(s.labels.values()): s.value for f in families for s in f.samples if s.name == name}


async def test_a_window_holds_the_repair_and_users_are_back_meanwhile(tmp_path: Path) -> None:
    sunday = Window(days=frozenset({6}), start=time(2), end=time(5), zone=UTC)
    world = World(folder=tmp_path, amend=railed(windows=(sunday,)))
    service = world.service()
    held = await carry_on(world, service, await breach(world, service))
    assert (held.state, world.active) == (State.PATCHING, world.good.id), "to go back waits for no window"
    assert held.events[-1].note.startswith("held by window: no maintenance window is open (until 2026-01-04 02:00 UTC)")
    assert [e for e in effects(world) if e[0] == "stage"] == []
    assert not world.executor.asked
    (target,) = status_json(service)["targets"]
    assert [(r["name"], r["person"]) for r in target["rails"]] == [("window", False)]
    assert not target["action_needed"]
    text = " ".join(str(line) for line in status_tables(status_json(service)))
    assert "held since 2026-01-01" in text
    stands = metrics(service, "alignd_rail_standing")
    assert {labels[1]: value for labels, value in stands.items()} == {name: float(name == "window") for name in RAILS}
    at = datetime.fromisoformat(held.facts["held_since"]).timestamp()
    assert metrics(service, "alignd_remediation_wanted_since_timestamp_seconds") == {("prod",): at}
    world.clock.now = datetime(2026, 1, 4, 2, tzinfo=UTC)
    assert (await carry_on(world, service, held)).state is State.RECOVERED
    notes = [e.note for e in service.store.load(held.id).events]
    assert sum(n.startswith("held by") for n in notes) == 1, "noted once"
    assert "the repair begins, 1 of 8 in 30 days" in notes
    assert not metrics(service, "alignd_rail_standing"), "it has ended"
    await service.aclose()


async def test_a_window_that_closed_meanwhile_holds_the_promotion_and_a_person_may_approve(tmp_path: Path) -> None:
    thursday = Window(days=frozenset({3}), start=time(0), end=time(1), zone=UTC)
    world = World(folder=tmp_path, amend=railed(windows=(thursday,)))
    service = world.service()
    incident = await breach(world, service)
    while service.store.load(incident.id).state is not State.PROMOTING:
        await service.reconcile(incident.id)
    world.clock.now = datetime(2026, 1, 1, 1, tzinfo=UTC)
    held = await carry_on(world, service, incident)
    assert (held.state, world.active) == (State.PROMOTING, world.good.id)
    service.order(held.id, Order.APPROVE, by="ann")
    done = await carry_on(world, service, held)
    assert done.state is State.RECOVERED
    assert "ann approved it in spite of window" in [e.note for e in done.events]
    await service.aclose()


async def test_a_promotion_on_its_way_is_finished_whatever_stands_then(tmp_path: Path) -> None:
    world = World(folder=tmp_path, amend=railed())
    service = world.service()
    incident = await breach(world, service)
    while "promotion" not in service.store.load(incident.id).facts.get("began", {}):
        await service.reconcile(incident.id)
    service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock.now, why="a new disk"))
    promoted = await service.reconcile(incident.id)
    assert (promoted.state, world.active) == (State.CONFIRMING, promoted.candidate)
    await service.aclose()


@pytest.mark.parametrize("containment", [Containment.ROLL_BACK, Containment.HOLD])
async def test_a_pause_holds_everything_with_its_reason(tmp_path: Path, containment: Containment) -> None:
    world = World(folder=tmp_path, containment=containment, amend=railed(give_up_hours=1))
    service = world.service()
    incident = await service.reconcile((await breach(world, service)).id)
    assert incident.state is State.OPEN
    before = effects(world)
    service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock.now, why="a new disk"))
    for _ in range(20):
        world.clock.now += timedelta(hours=1)
        held = await service.reconcile(incident.id)
    assert (held.state, held.events[-1].note) == (State.OPEN, "held by pause: by ann: a new disk"), "not given up"
    assert effects(world) == before
    service.store.resume("prod", by="ann", at=world.clock.now)
    assert (await carry_on(world, service, held)).state is State.RECOVERED
    await service.aclose()


async def test_the_breaker_waits_for_a_person_and_goes_on_after_the_reset(tmp_path: Path) -> None:
    world = World(folder=tmp_path, amend=railed(breaker_failures=2))
    service = world.service()
    for days in (3, 2):
        past(service, "prod", began=timedelta(days=days), ended=timedelta(days=days - 1))
    held = await carry_on(world, service, await breach(world, service))
    assert (held.state, world.active) == (State.PATCHING, world.good.id)
    assert "`alignd breaker reset prod` closes it" in held.events[-1].note
    (target,) = status_json(service)["targets"]
    assert target["action_needed"]
    assert target["breaker"] == {"failures": 2, "open": True, "reset": None}
    assert metrics(service, "alignd_breaker_open") == {("prod",): 1.0}
    with pytest.raises(ConfigError, match=r"no approval lifts what holds it: breaker: .*alignd breaker reset prod"):
        service.order(held.id, Order.APPROVE, by="ann")
    with pytest.raises(ConfigError, match="there are: prod"):
        service.reset_breaker("prd", by="ann", why="x")
    service.reset_breaker("prod", by="ann", why="the data was cleaned")
    (target,) = status_json(service)["targets"]
    assert (target["breaker"]["open"], target["breaker"]["reset"]["why"]) == (False, "the data was cleaned")
    assert (await carry_on(world, service, held)).state is State.RECOVERED
    await service.aclose()


async def test_what_is_held_for_too_long_is_a_persons(tmp_path: Path) -> None:
    world = World(folder=tmp_path, amend=railed(patches_per_30_days=1, give_up_hours=24))
    service = world.service()
    past(service, "prod", began=timedelta(days=2), ended=timedelta(days=1))
    held = await carry_on(world, service, await breach(world, service))
    assert "1 repairs in 30 days are the most" in held.events[-1].note
    world.clock.now += timedelta(hours=25)
    done = await service.reconcile(held.id)
    assert (done.state, done.events[-1].note) == (State.ESCALATED, "held for 24 h by budget; a person is needed")
    assert not world.executor.asked
    await service.aclose()


async def test_another_repair_of_the_same_base_goes_first(tmp_path: Path) -> None:
    world = World(folder=tmp_path, amend=railed())
    service = world.service()
    other = past(service, "other", began=timedelta(hours=1), ended=None, base=world.drifted.id)
    held = await carry_on(world, service, await breach(world, service))
    assert held.events[-1].note == "held by base: other repairs the same base model"
    service.store.save(advance(other, Outcome.FAILURE, now=world.clock(), note="n"))
    assert (await carry_on(world, service, held)).state is State.RECOVERED
    await service.aclose()


async def test_a_storm_stops_everything_until_a_person_has_looked(tmp_path: Path) -> None:
    world = World(folder=tmp_path, amend=railed())
    service = world.service()
    for name in ("a", "b"):
        past(service, name, began=timedelta(minutes=1), ended=timedelta(seconds=1))
    held = await carry_on(world, service, await breach(world, service))
    assert (held.state, world.active) == (State.OPEN, world.drifted.id), "nobody knows whether it drifted"
    assert held.events[-1].note.startswith("action needed: held by storm: at least 3 targets breached within 30 min")
    service.order(held.id, Order.APPROVE, by="ann")
    assert (await carry_on(world, service, held)).state is State.RECOVERED
    await service.aclose()


async def test_a_person_who_agrees_to_a_repair_in_mode_observe_does_so_once(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.OBSERVE, amend=railed())
    service = world.service()
    for name in ("a", "b"):
        past(service, name, began=timedelta(minutes=1), ended=timedelta(seconds=1))
    waiting = await carry_on(world, service, await breach(world, service))
    assert waiting.events[-1].note == f"action needed: `alignd approve {waiting.id}` lets the repair begin"
    service.order(waiting.id, Order.APPROVE, by="ann")
    await carry_on(world, service, waiting)
    storm = service.store.load(waiting.id)
    assert storm.events[-1].note.startswith("action needed: held by storm"), "she is told what else speaks against it"
    await service.aclose()


async def test_a_breach_must_last_as_long_as_the_settings_say(tmp_path: Path) -> None:
    world = World(folder=tmp_path, amend=railed(persist_seconds=3600))
    service = world.service()
    incident = await service.reconcile((await breach(world, service)).id)
    assert incident.state is State.DETECTED
    world.deployer.serve(world.good)
    world.clock.now += timedelta(hours=2)
    done = await carry_on(world, service, incident)
    assert done.state is State.DISMISSED
    assert [e.note for e in done.events][-2] == "no rail stands any more"
    await service.aclose()


class Unable(FakeDeployer):
    quarantine = None  # type: ignore[assignment]


async def test_quarantine_keeps_users_out_until_the_repair_serves(tmp_path: Path) -> None:
    world = World(folder=tmp_path, containment=Containment.QUARANTINE, amend=railed())
    service = world.service()
    incident = await breach(world, service)
    while service.store.load(incident.id).state is not State.PATCHING:
        await service.reconcile(incident.id)
    assert world.active == ""
    assert ("quarantine", world.drifted.id) in world.deployer.effects
    done = await carry_on(world, service, incident)
    assert (done.state, world.active) == (State.RECOVERED, done.candidate)
    assert world.promoted == [done.candidate], "the last known good release was not needed"
    await service.aclose()


async def test_a_deployer_that_can_not_quarantine_leaves_it_to_a_person(tmp_path: Path) -> None:
    world = World(folder=tmp_path, containment=Containment.QUARANTINE, deployer=Unable(), amend=railed())
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    assert done.state is State.ESCALATED
    assert "can't keep users from a target" in done.events[-1].note
    await service.aclose()
