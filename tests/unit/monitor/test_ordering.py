"""What a person may order: each order in each state, and the way out where one would do nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ConfigError
from monitor.holding import approved, held
from monitor.incident import TERMINAL, Incident, IncidentId, State, open_incident
from monitor.ordering import refusal, way_back
from monitor.policy import Containment, Mode, Order
from monitor.rails import Hold
from monitor.site import Site
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = Hold(name="window", why="no maintenance window is open")
DISK = Hold(name="disk", why="less than 2 GB are free; free some", person=True)
JUDGE = Hold(name="judge", why="the judge drifted", person=True)
GOES_ON = sorted(set(State) - TERMINAL)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return World(folder=tmp_path).site()


def at(state: State, *holds: Hold) -> Incident:
    first = open_incident(incident=IncidentId("i"), target="prod", release="bad", recipes=("mend",), now=NOW, note="n")
    incident = replace(first, state=state)
    return held(incident, holds, NOW) if holds else incident


def refused(incident: Incident, order: Order, site: Site | None, good: str = "good") -> str:
    return refusal(incident, order, site, good=good)


@pytest.mark.parametrize("state", GOES_ON)
def test_each_order_in_each_state(site: Site, state: State) -> None:
    may = {order for order in Order if not refused(at(state), order, site)}
    assert may == {
        Order.ABORT, *([Order.ROLL_BACK] if state is not State.ROLLING_BACK else []),
        *([Order.APPROVE] if state is State.AWAITING_APPROVAL else []),
    }  # fmt: skip


@pytest.mark.parametrize("order", Order)
def test_nobody_does_what_is_ordered_of_an_ended_incident_or_of_a_target_that_left(site: Site, order: Order) -> None:
    for state in TERMINAL:
        assert "has ended; `alignd releases`" in refused(at(state), order, site)
    assert "target 'prod' is not in the settings" in refused(at(State.OPEN), order, None)


def test_a_repair_is_approved_once_in_mode_observe_and_in_no_other(site: Site) -> None:
    observed, waiting = replace(site, mode=Mode.OBSERVE), at(State.OPEN)
    assert not refused(waiting, Order.APPROVE, observed)
    again = approved(waiting, by="ann", now=NOW)
    assert "ann approved it already; `alignd plan i`" in refused(again, Order.APPROVE, observed)
    for mode in (Mode.PROPOSE, Mode.AUTO):
        told = refused(waiting, Order.APPROVE, replace(site, mode=mode))
        assert "waits for nobody's approval; `alignd plan i`" in told


def test_a_repair_may_be_approved_while_the_judge_is_frozen(site: Site) -> None:
    assert not refused(at(State.OPEN, JUDGE), Order.APPROVE, replace(site, mode=Mode.OBSERVE))


def test_an_approval_lifts_some_rails_and_of_others_says_what_to_do(site: Site) -> None:
    assert not refused(at(State.PATCHING, WINDOW, DISK), Order.APPROVE, site)
    assert refused(at(State.PATCHING, DISK), Order.APPROVE, site) == (
        "no approval lifts what holds it: disk: less than 2 GB are free; free some"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"recipes": ()}, "its settings name no recipes; `alignd roll-back i` serves good, or `alignd abort i`"),
        ({"recipes": (), "deployed_by": "external"}, "no recipes; put a good release in by hand, or `alignd abort i`"),
        ({"deployed_by": "external"}, "deployer external can't contain it, and containment is not hold; put a good"),
    ],
)
def test_what_can_not_be_repaired_is_not_approved(site: Site, changes: dict[str, Any], why: str) -> None:
    observed = replace(site, mode=Mode.OBSERVE, **changes)
    for incident in (at(State.OPEN), at(State.OPEN, replace(WINDOW, name="storm"))):
        assert why in refused(incident, Order.APPROVE, observed)
    sooner = at(State.DETECTED, replace(WINDOW, name="persistence"))
    assert not refused(sooner, Order.APPROVE, observed), "to confirm it sooner changes nothing that is served"


def test_a_patch_may_be_made_for_a_server_that_a_person_changes(site: Site) -> None:
    mine = replace(site, mode=Mode.OBSERVE, deployed_by="external", containment=Containment.HOLD)
    assert not refused(at(State.OPEN), Order.APPROVE, mine)


def test_nothing_is_rolled_back_without_a_good_release_or_by_a_deployer_that_changes_nothing(site: Site) -> None:
    assert "no release but bad is known as good" in refused(at(State.PATCHING), Order.ROLL_BACK, site, good="")
    external = replace(site, deployed_by="external")
    assert "put good in by hand, or `alignd abort i`" in refused(at(State.OPEN), Order.ROLL_BACK, external)
    assert not refused(at(State.OPEN), Order.ABORT, external, good="")


async def test_a_roll_back_before_the_breach_is_confirmed_finds_the_good_release(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    assert (incident.state, incident.last_good) == (State.DETECTED, "")
    assert way_back(incident, service.store) == world.good.id
    service.order(incident.id, Order.ROLL_BACK, by="ann")
    done = await carry_on(world, service, incident)
    assert (done.state, world.active) == (State.ESCALATED, world.good.id)
    assert done.events[-1].note == f"rolled back to {world.good.id}; a person is needed"
    await service.aclose()


async def test_an_order_is_put_down_once_and_another_may_follow(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.PROPOSE)
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    service.order(waiting.id, Order.APPROVE, by="ann")
    with pytest.raises(ConfigError, match=f"{waiting.id} is AWAITING_APPROVAL and `approve` would do nothing: ann "):
        service.order(waiting.id, Order.APPROVE, by="bob")
    service.order(waiting.id, Order.ROLL_BACK, by="bob")
    await service.aclose()


async def test_an_order_that_came_too_late_is_dropped_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await service.reconcile((await breach(world, service)).id)
    service.store.place(incident.id, Order.APPROVE, by="ann", at=world.clock())
    world.clock.now += timedelta(minutes=1)
    after = await service.reconcile(incident.id)
    assert (after.version, after.facts.get("approved_by")) == (incident.version, None)
    assert service.store.order_for(incident.id) is None
    (dropped,) = [r for r in caplog.records if r.getMessage() == "order_dropped"]
    assert "waits for nobody's approval" in dropped.__dict__["why"]
    await service.aclose()
