"""The whole loop in one process: real store, real steps, everything outside is in memory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.testing import FakeDeployer
from monitor.incident import Incident, State
from monitor.policy import Containment, Mode, Order
from monitor.repair import pool_key
from monitor.service import Service
from monitor.status import status_json
from remediation.errors import PatchFailed, WorkerDied
from remediation.testing import CLEAN_SCREEN
from tests.fake_site import DRIFTED, GOOD, Ways, World


async def breach(world: World, service: Service) -> Incident:
    """Certify the good release, let the target drift, and probe until an incident is open."""
    await service.prepare()
    for _ in range(5):
        await service.tick("prod")
    world.deployer.serve(world.drifted)
    for _ in range(10):
        await service.tick("prod")
        if found := service.store.incidents(open_only=True):
            return found[0]
    raise AssertionError("no incident was opened")


async def carry_on(world: World, service: Service, incident: Incident, *, rounds: int = 60) -> Incident:
    """Reconcile until it ends or waits for a person."""
    for _ in range(rounds):
        before = service.store.load(incident.id)
        world.clock.now += timedelta(minutes=5)
        after = await service.reconcile(incident.id)
        if after.closed or (after.version == before.version and after.attempt == 0):
            return after
    raise AssertionError(f"stuck in {service.store.load(incident.id).state}")


async def run_through(world: World) -> Incident:
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    await service.aclose()
    return done


async def test_a_drifted_target_recovers(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    assert done.state is State.RECOVERED, done.events
    assert world.active == done.candidate
    assert world.promoted == [world.good.id, done.candidate]
    assert set(world.deployer.up) == {world.good.id, done.candidate}
    assert done.trials[0].verification is not None
    assert done.trials[0].verification["accepted"]
    (asked,) = world.executor.patchers["mend"].asked
    assert asked.parent_digest == world.drifted.manifest.digest
    assert asked.reference_digest == world.good.manifest.digest
    assert asked.site_key == pool_key("secret") != "secret"
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any("reports" in p.parts for p in kept)
    assert not [p for p in kept if asked.site_key.encode() in p.read_bytes()]
    assert {"evidence", "confirmation", "containment", "recovery"} <= done.facts.keys()
    assert not list((tmp_path / "releases" / ".work").iterdir())
    marks = {k.release: k.good for k in service.store.known("prod")}
    assert marks == {world.good.id: True, world.drifted.id: False, done.candidate: True}
    for _ in range(5):
        await service.tick("prod")
    (target,) = status_json(service)["targets"]
    assert (target["release"], target["verdict"], target["incident"]) == (done.candidate, "safe", None)
    await service.aclose()


async def test_a_good_release_is_measured_once_before_anything_happens(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    for _ in range(5):
        await service.tick("prod")
    (known,) = service.store.known("prod")
    assert known.profile is not None
    assert known.profile["asr"]["value"] == 0.0
    assert world.profiled == [world.good.id]
    assert service.activities.of("prod") is None
    done = await carry_on(world, service, await breach(world, service))
    assert world.profiled == [world.good.id, world.drifted.id, done.candidate]
    await service.aclose()


async def test_a_profile_waits_its_turn_while_the_target_is_watched_as_ever(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    async with AsyncExitStack() as others:
        while not service._profiling.locked():
            await others.enter_async_context(service._profiling)
        for _ in range(5):
            await service.tick("prod")
        assert [k.good for k in service.store.known("prod")] == [True]
        assert world.profiled == []
    await service.tick("prod")
    assert world.profiled == [world.good.id]
    await service.aclose()


async def test_a_good_release_that_can_not_be_measured_is_watched_all_the_same(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    world.mute_profiles = True
    for _ in range(5):
        await service.tick("prod")
    assert status_json(service)["targets"][0]["up"]
    assert service.store.known("prod")[0].profile is None
    world.mute_profiles = False
    assert (await carry_on(world, service, await breach(world, service))).state is State.RECOVERED
    await service.aclose()


async def test_failed_and_hopeless_recipes_are_recorded_and_passed_over(tmp_path: Path) -> None:
    recipes = {
        "broken": PatchFailed("no gradient"), "dead": WorkerDied("gone"), "weak": DRIFTED,
        "loses-task": Ways(utility=0),
        "refuses-all": Ways(over_refusal=1.0), "mend": GOOD,
    }  # fmt: skip
    screens = {"weak": replace(CLEAN_SCREEN, harm_complied=9)}
    world = World(folder=tmp_path, recipes=recipes, screens=screens)
    done = await run_through(world)
    assert done.state is State.RECOVERED
    why = {t.recipe: t.why for t in done.trials}
    assert list(why) == list(recipes)
    assert "no gradient" in why["broken"]
    assert "no result" in why["dead"]
    assert "9 of 10 harmful" in why["weak"]
    assert "task accuracy" in why["loses-task"]
    assert "harmless" in why["refuses-all"]
    assert not why["mend"]
    assert not any("weak" in e.note for e in done.events if e.state is State.VERIFYING)


async def test_without_a_fitting_recipe_the_last_good_release_stays(tmp_path: Path) -> None:
    world = World(folder=tmp_path, recipes={"a": Ways(asr=0.9), "b": Ways(utility=0.1)})
    done = await run_through(world)
    assert done.state is State.ESCALATED
    assert world.active == world.good.id
    assert set(world.deployer.up) == {world.good.id}
    assert all(t.verification and not t.verification["accepted"] for t in done.trials)


async def test_an_escalated_release_opens_no_second_incident(tmp_path: Path) -> None:
    world = World(folder=tmp_path, recipes={"a": Ways(asr=0.9)}, containment=Containment.HOLD)
    service = world.service()
    await carry_on(world, service, await breach(world, service))
    for _ in range(10):
        await service.tick("prod")
    assert len(service.store.incidents()) == 1
    await service.aclose()


async def test_observe_changes_nothing_until_a_person_agrees(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.OBSERVE)
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    assert waiting.state is State.OPEN
    assert status_json(service)["targets"][0]["action_needed"]
    assert (world.active, world.promoted) == (world.drifted.id, [])
    service.order(waiting.id, Order.APPROVE, by="ann")
    waiting = await carry_on(world, service, waiting)
    assert waiting.state is State.AWAITING_APPROVAL
    service.order(waiting.id, Order.APPROVE, by="ann")
    assert (await carry_on(world, service, waiting)).state is State.RECOVERED
    await service.aclose()


async def test_observe_ends_when_the_release_leaves_service(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.OBSERVE)
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    world.deployer.serve(world.good)
    assert (await carry_on(world, service, waiting)).state in {State.DISMISSED, State.OPEN}
    other = world.release("other", GOOD)
    world.deployer.serve(other)
    assert (await carry_on(world, service, waiting)).state is State.DISMISSED
    await service.aclose()


@pytest.mark.parametrize(
    ("order", "state"), [(Order.ABORT, State.DISMISSED), (Order.ROLL_BACK, State.ESCALATED)]
)
async def test_a_person_stops_a_proposal(tmp_path: Path, order: Order, state: State) -> None:
    world = World(folder=tmp_path, mode=Mode.PROPOSE)
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    assert waiting.state is State.AWAITING_APPROVAL
    service.order(waiting.id, order, by="ann")
    done = await carry_on(world, service, waiting)
    assert done.state is state
    assert (world.active, set(world.deployer.up)) == (world.good.id, {world.good.id})
    await service.aclose()


async def test_a_proposal_lapses(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.PROPOSE)
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    world.clock.now += timedelta(hours=25)
    done = await carry_on(world, service, waiting)
    assert (done.state, done.events[-1].note) == (State.DISMISSED, "nobody approved within 24 h")
    assert set(world.deployer.up) == {world.good.id}
    await service.aclose()


async def test_a_promoted_release_that_fails_live_is_rolled_back(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    while incident.state is not State.CONFIRMING:
        incident = await service.reconcile(incident.id)
    folder = world.deployer.up[incident.candidate].path
    said = (folder / "config.json").read_text().replace('"asr": 0.0', '"asr": 0.8')
    (folder / "config.json").write_text(said)
    done = await carry_on(world, service, incident)
    assert done.state is State.ESCALATED
    assert world.active == world.good.id
    assert not {k.release: k.good for k in service.store.known("prod")}[incident.candidate]
    await service.aclose()


async def test_a_candidate_that_does_not_come_up_escalates(tmp_path: Path) -> None:
    done = await run_through(World(folder=tmp_path, deployer=FakeDeployer(broken=frozenset({"prod-patched"}))))
    assert done.state is State.ESCALATED
    assert "did not come up" in done.events[-1].note


async def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    world.deployer.down = True
    await service.tick("prod")
    assert "does not answer" in service.views["prod"].why
    assert (await service.reconcile(incident.id)).attempt == 1
    assert (await service.reconcile(incident.id)).attempt == 1, "too early for the next attempt"
    world.deployer.down = False
    assert (await carry_on(world, service, incident)).state is State.RECOVERED
    await service.aclose()


async def test_silence_is_neither_safe_nor_harmful(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mute=True)
    service = world.service()
    await service.prepare()
    for _ in range(10):
        await service.tick("prod")
    (target,) = status_json(service)["targets"]
    assert (target["up"], target["verdict"], target["asr"]["value"]) == (False, "inconclusive", None)
    assert not service.store.incidents()
    assert "timeout" in target["why"]
    await service.aclose()
