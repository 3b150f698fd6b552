"""The whole loop where servers take adapters alone: a repair is one, whether the base drifted or an adapter on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.adapter import import_adapter
from deploy.checkpoint import Release, ReleaseKind, find_release
from deploy.errors import StageError
from deploy.testing import FakeAdapterDeployer
from monitor.incident import Incident, State
from monitor.service import Service
from monitor.site import Recipe
from remediation.form_testing import write_empty_adapter
from remediation.patch import Form, PatchRequest
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import DRIFTED, GOOD, Ways, World, write_config


def adapter_on(base: Release, world: World, name: str, ways: Ways) -> Release:
    folder = world.folder / "sources" / name
    folder.mkdir(parents=True)
    write_empty_adapter(folder, base.path)
    write_config(folder, replace(ways, mark=name))
    return import_adapter(
        folder, base.path.parent, name=name, base=base.id, created_at=world.clock(), creator="import"
    )


@pytest.fixture
def tuned(tmp_path: Path) -> World:
    """The base is good, and a customer's adapter on it drifts."""
    world = World(folder=tmp_path, recipes={"mend": GOOD})
    world.deployer = FakeAdapterDeployer(on=world.good, hook=world.happens)
    world.drifted = adapter_on(world.good, world, "tuned", DRIFTED)
    return world


@pytest.fixture
def drifted(tmp_path: Path) -> World:
    """The servers run the drifted release itself; the good one is another full checkpoint."""
    world = World(folder=tmp_path, recipes={"mend": GOOD})
    world.deployer = FakeAdapterDeployer(on=world.drifted, hook=world.happens)
    return world


def candidate(world: World, incident: Incident) -> Release:
    return find_release(world.folder / "releases", incident.candidate)


def asked(world: World) -> PatchRequest:
    (request,) = world.executor.patchers["mend"].asked
    return request


async def first_incident(service: Service) -> Incident:
    await service.prepare()
    for _ in range(20):
        await service.tick("prod")
        if found := service.store.incidents(open_only=True):
            return found[0]
    raise AssertionError("no incident was opened")


async def until(service: Service, incident: Incident, state: State) -> Incident:
    while incident.state is not state:
        incident = await service.reconcile(incident.id)
        assert not incident.closed, incident.events
    return incident


async def test_a_drifted_adapter_gives_way_to_its_base_and_comes_back_repaired(tuned: World) -> None:
    service = tuned.service()
    done = await carry_on(tuned, service, await breach(tuned, service))
    assert done.state is State.RECOVERED, done.events
    assert tuned.promoted == [tuned.good.id, done.candidate]
    found = candidate(tuned, done).manifest
    assert (found.kind, found.base, found.parent) == (ReleaseKind.ADAPTER, tuned.good.id, tuned.drifted.id)
    request = asked(tuned)
    assert (request.form, request.drifted, request.reference) == (Form.ADAPTER, tuned.drifted.path, tuned.good.path)
    assert set(tuned.deployer.up) == {tuned.good.id, done.candidate}
    await service.aclose()


async def test_a_drifted_base_is_repaired_by_an_adapter_on_it(drifted: World) -> None:
    service = drifted.service()
    done = await carry_on(drifted, service, await first_incident(service))
    assert done.state is State.RECOVERED, done.events
    assert done.last_good == drifted.good.id
    assert drifted.promoted == [done.candidate]
    assert drifted.profiled == [drifted.drifted.id, done.candidate], "the good one is never brought up"
    assert f"not contained: {drifted.good.id} is no release for these servers" in done.events[2].note
    found = candidate(drifted, done).manifest
    assert (found.kind, found.base, found.parent) == (ReleaseKind.ADAPTER, drifted.drifted.id, drifted.drifted.id)
    assert asked(drifted).reference == drifted.good.path, "recipes go towards it all the same"
    await service.aclose()


async def test_a_patch_that_the_servers_have_no_room_for_is_the_next_recipes_turn(tuned: World) -> None:
    class Small(FakeAdapterDeployer):
        refused = ""

        def _bring_up(self, release: Release) -> None:
            if release.manifest.creator == "patch:large":
                self.refused = release.id
                raise StageError(f"release {release.id} has rank 128, the server takes up to 32")
            super()._bring_up(release)

    tuned.deployer = small = Small(on=tuned.good, hook=tuned.happens)
    tuned.recipes = {"large": GOOD, "mend": GOOD}
    tuned.executor.patchers["large"] = tuned.patcher("large", GOOD)
    service = tuned.service()
    done = await carry_on(tuned, service, await breach(tuned, service))
    assert done.state is State.RECOVERED, done.events
    assert small.refused
    assert [(t.recipe, "rank 128" in t.why) for t in done.trials] == [("large", True), ("mend", False)]
    await service.aclose()


async def test_the_newest_good_release_that_the_servers_can_bring_up_is_gone_back_to(tuned: World) -> None:
    service = tuned.service()
    incident = await breach(tuned, service)
    elsewhere = tuned.release("elsewhere", GOOD)
    service.store.mark("prod", elsewhere.id, good=True, at=tuned.clock())
    done = await carry_on(tuned, service, incident)
    assert (done.state, done.last_good) == (State.RECOVERED, tuned.good.id), done.events
    await service.aclose()


async def test_where_nothing_can_be_gone_back_to_a_person_is_told_what_serves(drifted: World) -> None:
    service = drifted.service()
    incident = await first_incident(service)
    incident = await until(service, incident, State.CONFIRMING)
    folder = drifted.deployer.up[incident.candidate].path
    write_config(folder, replace(DRIFTED, mark="mend"))
    done = await carry_on(drifted, service, incident)
    assert done.state is State.ESCALATED
    assert f"{incident.candidate} stays in service; a person is needed" in done.events[-1].note
    assert drifted.promoted == [incident.candidate]
    await service.aclose()


async def test_a_release_of_other_servers_is_not_repaired(tuned: World) -> None:
    service = tuned.service()
    incident = await breach(tuned, service)
    incident = await until(service, incident, State.PATCHING)
    tuned.deployer = FakeAdapterDeployer(on=tuned.release("moved", GOOD), hook=tuned.happens)
    other = tuned.service()
    done = await carry_on(tuned, other, other.store.load(incident.id))
    assert done.state is State.ESCALATED
    assert f"{tuned.drifted.id} is no release for these servers" in done.events[-1].note
    assert not tuned.executor.patchers["mend"].asked
    for one in (service, other):
        await one.aclose()


async def test_a_server_that_is_away_is_asked_again_before_anything_else_is_done(tuned: World) -> None:
    service = tuned.service()
    incident = await breach(tuned, service)
    incident = await until(service, incident, State.OPEN)
    tuned.deployer.down = True
    incident = await service.reconcile(incident.id)
    assert (incident.state, incident.attempt) == (State.OPEN, 1)
    tuned.deployer.down = False
    assert (await carry_on(tuned, service, incident)).state is State.RECOVERED
    assert tuned.promoted[0] == tuned.good.id
    await service.aclose()


async def test_a_recipe_that_is_too_wide_for_the_servers_is_passed_over_before_it_runs(tuned: World) -> None:
    assert isinstance(tuned.deployer, FakeAdapterDeployer)
    tuned.deployer.widest = 16
    wide, default = Recipe(plugin="mend", options={"rank": 64}), Recipe(plugin="restore-tuned", options={})
    tuned.amend = lambda site, _: replace(site, recipes=(wide, default, Recipe(plugin="mend", options={"rank": 16})))
    service = tuned.service()
    done = await carry_on(tuned, service, await breach(tuned, service))
    assert done.state is State.RECOVERED
    assert done.trials[0].why == "rank 64, and its servers take up to 16; start vLLM with --max-lora-rank 64"
    assert done.trials[1].why == "rank 32, and its servers take up to 16; start vLLM with --max-lora-rank 32"
    assert asked(tuned).options == {"rank": 16}
    await service.aclose()
