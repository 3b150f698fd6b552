"""Quarantines that a person lifts: in every state of their incident, and whenever the daemon is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.table import Table

from deploy.deployer import DeploymentState
from deploy.errors import DeployerUnavailable
from deploy.testing import FakeDeployer
from monitor.errors import ConfigError
from monitor.incident import Incident, State
from monitor.policy import Containment
from monitor.service import Service
from monitor.status import status_json
from monitor.stores.sql import SqlStore
from monitor.tables import status_tables
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import DRIFTED, GOOD, Ways, World

WEAK, MEND = {"weak": Ways(asr=0.9)}, {"mend": GOOD}


def a_world(folder: Path, recipes: dict[str, Ways], **more: FakeDeployer) -> World:
    return World(folder=folder, containment=Containment.QUARANTINE, recipes=recipes, **more)  # type: ignore[arg-type]


async def until(service: Service, incident: Incident, state: State) -> Incident:
    while (found := service.store.load(incident.id)).state is not state:
        await service.reconcile(incident.id)
    return found


async def lifted(service: Service, by: str = "ann", why: str = "a false alarm") -> None:
    await service.lifting.place("prod", by=by, why=why)
    await service.lifting.carry_on("prod")


def in_service(said: Sequence[object]) -> list[str]:
    (releases,) = (t for t in said if isinstance(t, Table) and str(t.title) == "releases")
    return [str(cell) for cell in releases.columns[1].cells]


def actions(service: Service) -> list[tuple[str, str]]:
    return [(e.action, e.actor) for e in service.store.audit_log(subject="prod") if e.action.startswith("lift")]


async def test_who_is_left_out_by_an_escalated_incident_is_served_again(tmp_path: Path) -> None:
    world = a_world(tmp_path, WEAK)
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    assert (done.state, world.active) == (State.ESCALATED, ""), "a person has to look first"
    (target,) = status_json(service)["targets"]
    assert target["quarantine"] == {
        "why": f"out of service: incident {done.id}", "release": world.drifted.id, "lift": None,
    }  # fmt: skip
    said = status_tables(status_json(service))
    assert "`alignd quarantine lift` ends that" in " ".join(str(line) for line in said)
    assert in_service(said) == ["nobody (503)"]
    await service.lifting.place("prod", by="ann", why="a false alarm")
    assert status_json(service)["targets"][0]["quarantine"]["lift"]["by"] == "ann"
    await service.lifting.carry_on("prod")
    assert world.active == world.drifted.id
    assert status_json(service)["targets"][0]["quarantine"] is None
    assert in_service(status_tables(status_json(service))) == [world.drifted.id]
    after = service.store.load(done.id)
    assert (after.state, after.events[-1].note) == (State.ESCALATED, "ann ordered: lift the quarantine, a false alarm")
    assert (after.ended_at, after.to_json()["state"]) == (done.ended_at, "ESCALATED"), "it ended when it did"
    assert actions(service) == [("lift_placed", "ann"), ("lift_done", "alignd")]
    assert not service.store.lifts()
    with pytest.raises(ConfigError, match="prod is not quarantined; there is nothing to lift"):
        await service.lifting.place("prod", by="ann", why="again")
    await service.aclose()


async def test_the_repair_goes_on_while_users_are_served_and_ends_as_ever(tmp_path: Path) -> None:
    world = a_world(tmp_path, MEND)
    service = world.service()
    incident = await until(service, await breach(world, service), State.PATCHING)
    await lifted(service)
    assert world.active == world.drifted.id, "at once, whatever step is under way"
    assert service.store.lifts(), "until its timeline tells of it"
    effects = len(world.deployer.effects)
    await service.lifting.carry_on("prod")
    assert len(world.deployer.effects) == effects
    noted = await service.reconcile(incident.id)
    assert (noted.state, noted.events[-1].note) == (State.PATCHING, "ann ordered: lift the quarantine, a false alarm")
    await service.lifting.carry_on("prod")
    assert not service.store.lifts()
    done = await carry_on(world, service, incident)
    assert (done.state, world.active) == (State.RECOVERED, done.candidate)
    assert actions(service) == [("lift_placed", "ann"), ("lift_done", "alignd")]
    await service.aclose()


async def test_a_quarantine_that_is_over_is_not_said_to_be_under_way(tmp_path: Path) -> None:
    world, seen = a_world(tmp_path, MEND), list[str]()
    service = world.service()
    incident = await breach(world, service)

    def look(_: str) -> None:
        (target,) = status_json(service)["targets"]
        seen.append((target["activity"] or {"stage": "none"})["stage"])

    world.hook = look
    await until(service, incident, State.PATCHING)
    assert set(seen) == {"quarantine"}
    assert status_json(service)["targets"][0]["activity"] is None
    await service.aclose()


async def test_a_quarantine_is_no_outage_that_holds_up_the_repairs_of_others(tmp_path: Path) -> None:
    world = a_world(tmp_path, WEAK)
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    await service.tick("prod")
    assert not service.views["prod"].up
    service.adopt({**service.sites, "other": replace(service.sites["prod"], name="other")})
    elsewhere = replace(done, target="other")
    assert (await service.reconciler.railing.facts(elsewhere)).others == (0, 0)
    await lifted(service)
    await service.tick("prod")
    assert (await service.reconciler.railing.facts(elsewhere)).others == (1, 1)
    await service.aclose()


async def test_a_promotion_in_between_is_not_undone(tmp_path: Path) -> None:
    world = a_world(tmp_path, MEND)
    service = world.service()
    incident = await until(service, await breach(world, service), State.PROMOTING)
    await service.lifting.place("prod", by="ann", why="x")
    done = await carry_on(world, service, incident)
    assert done.state is State.RECOVERED
    await service.lifting.carry_on("prod")
    assert world.active == done.candidate
    assert not service.store.lifts()
    await service.aclose()


async def test_what_a_killed_step_quarantined_is_not_quarantined_again(tmp_path: Path) -> None:
    world = a_world(tmp_path, MEND)
    service = world.service()
    incident = await until(service, await breach(world, service), State.OPEN)
    await world.deployer.quarantine("out of service: incident i")  # and the daemon was killed before its save
    await service.lifting.place("prod", by="ann", why="x")
    patching = await until(service, incident, State.PATCHING)
    assert patching.events[-1].note == "contained by hold: ann lifted the quarantine"
    await service.lifting.carry_on("prod")
    assert world.active == world.drifted.id
    await service.aclose()


async def test_a_lift_of_an_earlier_incident_ends_no_later_quarantine(tmp_path: Path) -> None:
    world = a_world(tmp_path, WEAK)
    service = world.service()
    await carry_on(world, service, await breach(world, service))
    await service.lifting.place("prod", by="ann", why="x")
    await world.deployer.promote(world.good)
    world.drifted = world.release("worse", DRIFTED)
    await until(service, await breach(world, service), State.PATCHING)
    await service.lifting.carry_on("prod")
    assert world.active == "", "nobody has said so of this one"
    assert actions(service) == [("lift_placed", "ann"), ("lift_dropped", "alignd")]
    await service.aclose()


class Unable(FakeDeployer):
    quarantine = None  # type: ignore[assignment]


class Hanging(FakeDeployer):
    async def state(self) -> DeploymentState:
        await asyncio.Event().wait()
        raise AssertionError("nobody waits so long")


async def test_a_lift_is_refused_where_it_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = a_world(tmp_path / "a", MEND).service()
    with pytest.raises(ConfigError, match="no target 'prd'; there are: prod"):
        await service.lifting.place("prd", by="ann", why="x")
    with pytest.raises(ConfigError, match="is not quarantined"):
        await service.lifting.place("prod", by="ann", why="x")
    await service.aclose()
    service = a_world(tmp_path / "b", MEND, deployer=Unable()).service()
    with pytest.raises(ConfigError, match="its deployer can't quarantine"):
        await service.lifting.place("prod", by="ann", why="x")
    await service.aclose()
    service = a_world(tmp_path / "c", MEND, deployer=FakeDeployer(down=True)).service()
    with pytest.raises(DeployerUnavailable):
        await service.lifting.place("prod", by="ann", why="x")
    assert not service.store.lifts()
    await service.aclose()
    monkeypatch.setattr("monitor.lifting._PLACE_SECONDS", 0.01)
    service = a_world(tmp_path / "d", MEND, deployer=Hanging()).service()
    with pytest.raises(DeployerUnavailable, match=r"prod: the serving side did not answer within 0\.01 s"):
        await service.lifting.place("prod", by="ann", why="x")
    assert not service.store.lifts(), "who gave up has said nothing"
    await service.aclose()


async def test_who_asks_twice_has_asked_once(tmp_path: Path) -> None:
    world = a_world(tmp_path, WEAK)
    service = world.service()
    await carry_on(world, service, await breach(world, service))
    first, release = await service.lifting.place("prod", by="ann", why="x")
    assert release == world.drifted.id
    assert (await service.lifting.place("prod", by="bob", why="y"))[0] == first
    await service.aclose()


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


async def killed_at(folder: Path, at: int, state: State, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Die at the n-th change that a lift makes, start again, and look at what it comes to; whether it died."""
    world = a_world(folder, WEAK)
    service = world.service()
    incident = await until(service, await breach(world, service), state)
    await service.lifting.place("prod", by="ann", why="x")
    seen: list[str] = []

    def point(name: str) -> None:
        seen.append(name)
        if len(seen) == at:
            raise Killed(name)

    def around(verb: str) -> Callable[..., object]:
        plain = getattr(SqlStore, verb)

        def done(store: SqlStore, *args: object, **kwargs: object) -> object:
            point(verb)
            found = plain(store, *args, **kwargs)
            point(f"{verb} done")
            return found

        return done

    world.hook = point
    with monkeypatch.context() as patched:
        for verb in ("save", "end_lift"):
            patched.setattr(SqlStore, verb, around(verb))
        with suppress(Killed):
            await service.lifting.carry_on("prod")
    died, world.hook = len(seen) >= at, lambda _: None
    service.store.close()
    service = world.service()
    await carry_on(world, service, incident)
    await service.lifting.carry_on("prod")
    assert world.active == world.drifted.id, f"killed at {at} in {state}"
    assert not service.store.lifts()
    notes = [e.note for e in service.store.load(incident.id).events if "lift" in e.note]
    assert notes.count("ann ordered: lift the quarantine, x") == 1
    assert actions(service) == [("lift_placed", "ann"), ("lift_done", "alignd")]
    await service.aclose()
    return died


@pytest.mark.parametrize("state", [State.PATCHING, State.ESCALATED])
async def test_killed_at_any_moment_it_is_lifted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    at = 1
    while await killed_at(tmp_path / str(at), at, state, monkeypatch):
        at += 1
    assert at > 2
