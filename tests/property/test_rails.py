"""Rails and the incident table: nothing changes while one stands, and every incident ends."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.holding import begun, given_up, held
from monitor.incident import TERMINAL, Incident, IncidentId, Outcome, State, advance, open_incident
from monitor.rails import Beginning, Facts, Rails, Remediation, began, standing
from monitor.service import Service
from monitor.store import Pause
from monitor.windows import Window
from tests.e2e.test_daemon_fake import breach
from tests.fake_site import GOOD, World
from tests.property.test_incident import allowed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SUNDAY = Window(days=frozenset({6}), start=time(2), end=time(5), zone=UTC)


def circumstances(rng: random.Random, incident: Incident) -> Facts:
    """What rails ask, at random; nobody pauses."""
    return Facts(
        incident=incident, judge=rng.choice(["", "", "", "it drifted"]), disk_free=rng.choice([0.0, 1e12, 1e12]),
        others=rng.choice([(4, 0), (4, 4), (0, 0)]), base="b",
        history=tuple(remediation(rng) for _ in range(rng.randrange(4))),
    )  # fmt: skip


def remediation(rng: random.Random) -> Remediation:
    opened, target = NOW + rng.randrange(-60, 60) * HOUR, rng.choice("tuv")
    ended = opened + 2 * HOUR if target == "t" or rng.random() < 0.5 else None
    return Remediation(
        incident=f"{rng.random()}", target=target, opened_at=opened, base=rng.choice("bc"),
        state=rng.choice(sorted(TERMINAL)) if ended else State.PATCHING,
        began_at=rng.choice([None, opened + HOUR]), ended_at=ended,
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (SUNDAY,)]), st.integers(1, 3))
def test_whatever_stands_an_incident_keeps_its_state_or_is_given_up_and_ends(
    seed: int, windows: tuple[Window, ...], recipes: int
) -> None:
    rng, rails, now = random.Random(seed), Rails(windows=windows, give_up_hours=24), NOW
    incident = open_incident(
        incident=IncidentId("i"), target="t", release="r", recipes=tuple("abc"[:recipes]), now=NOW, note="n"
    )
    for _ in range(400):
        if incident.closed:
            break
        now += rng.choice([timedelta(seconds=1), 30 * HOUR])
        facts = circumstances(rng, incident)
        before, holds = incident, standing(rails, facts, now)
        if holds and not given_up(incident, rails, holds, now):
            incident = held(incident, holds, now)
            kept = replace(incident, events=before.events, facts=before.facts)
            assert kept == before, "only what holds it is put down"
        elif holds:
            incident = advance(incident, Outcome.GIVEN_UP, now=now, note="")
            assert incident.state in {State.ESCALATED, State.ROLLING_BACK}
        elif (ready := begun(facts, rails, now)) != incident:
            incident = ready
            assert (incident.state, incident.facts.get("held", [])) == (before.state, [])
        else:
            assert incident.state is not State.PATCHING or began(incident, Beginning.REPAIR)
            assert incident.state is not State.PROMOTING or began(incident, Beginning.PROMOTION)
            outcome = rng.choice([o for o in allowed(incident) if o is not Outcome.GIVEN_UP])
            incident = advance(incident, outcome, now=now, note="")
    assert incident.state in TERMINAL, incident.events


@pytest.mark.parametrize("seed", range(4))
async def test_the_daemon_changes_nothing_outside_while_a_person_has_paused_it(tmp_path: Path, seed: int) -> None:
    rng, world = random.Random(seed), World(folder=tmp_path, recipes={"mend": GOOD})
    service = world.service()
    incident = await breach(world, service)
    for _ in range(12):
        if rng.random() < 0.4:
            service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock.now))
        elif rng.random() < 0.5:
            service.store.resume("prod", by="ann", at=world.clock.now)
        await _goes_on(world, service, incident.id)
    service.store.resume("prod", by="ann", at=world.clock.now)
    while not service.store.load(incident.id).closed:
        await _goes_on(world, service, incident.id)
    (only,) = service.store.incidents()
    assert only.state is State.RECOVERED
    await service.aclose()


async def _goes_on(world: World, service: Service, incident: str) -> None:
    before, changed = service.store.load(incident), list(world.deployer.effects)
    world.clock.now += timedelta(minutes=5)
    await service.reconcile(incident)
    holdable = before.state in {State.DETECTED, State.OPEN, State.PATCHING, State.PROMOTING}
    if service.store.pause_of("prod") and holdable and not began(before, Beginning.PROMOTION):
        assert service.store.load(incident).state is before.state
        assert world.deployer.effects == changed
