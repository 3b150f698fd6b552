"""Faults of the host and of the serving side, and what comes after an incident that a person had to end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.checkpoint import Release
from deploy.deployer import DeploymentState, ServedRelease
from deploy.errors import DeployerUnavailable
from deploy.testing import FakeDeployer
from monitor.errors import ConfigError
from monitor.guard import Guard
from monitor.incident import Incident, State
from monitor.policy import Containment, Mode, Order
from monitor.schedule import Rounds
from monitor.service import Service
from monitor.status import status_json
from monitor.tables import status_tables
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import GOOD, Ways, World


async def test_an_escalated_release_that_was_healthy_since_is_no_longer_left_alone(tmp_path: Path) -> None:
    world = World(folder=tmp_path, recipes={"a": Ways(asr=0.9)}, containment=Containment.HOLD)
    service = world.service()
    first = await carry_on(world, service, await breach(world, service))
    assert first.state is State.ESCALATED
    for _ in range(5):
        await service.tick("prod")
    assert status_json(service)["targets"][0]["action_needed"], "a breach without an incident pages on"
    plain = world.ways
    world.ways = lambda release: GOOD if release == world.drifted.id else plain(release)  # type: ignore[method-assign]
    for _ in range(60):
        await service.tick("prod")
    assert not status_json(service)["targets"][0]["action_needed"]
    assert len(service.store.incidents()) == 1
    world.ways = plain  # type: ignore[method-assign]
    assert (await breach_again(service)).id != first.id
    await service.aclose()


async def test_an_escalated_release_that_is_put_back_after_another_one_is_no_longer_left_alone(tmp_path: Path) -> None:
    world = World(folder=tmp_path, recipes={"a": Ways(asr=0.9)}, containment=Containment.HOLD)
    service = world.service()
    first = await carry_on(world, service, await breach(world, service))
    for _ in range(5):
        await service.tick("prod")
    (target,) = status_json(service)["targets"]
    assert (first.state, target["left_to_a_person"]) == (State.ESCALATED, first.id)
    assert f"left to a person since incident {first.id}" in " ".join(map(str, status_tables(status_json(service))))
    await world.deployer.promote(world.good)
    world.clock.now += timedelta(minutes=1)
    await service.tick("prod")
    assert not status_json(service)["targets"][0]["left_to_a_person"]
    await world.deployer.promote(world.drifted)
    assert (await breach_again(service)).id != first.id
    await service.aclose()


async def breach_again(service: Service) -> Incident:
    for _ in range(20):
        await service.tick("prod")
        if found := service.store.incidents(open_only=True):
            return found[0]
    raise AssertionError("no incident was opened")


class Halved(FakeDeployer):
    """One of two servers is away: nothing can be read, and to promote reaches the other one alone."""

    away: bool = False

    async def state(self) -> DeploymentState:
        if self.away:
            raise DeployerUnavailable("server two does not answer")
        return await FakeDeployer.state(self)

    async def promote(self, release: Release) -> ServedRelease:
        served = await FakeDeployer.promote(self, release)
        if self.away:
            raise DeployerUnavailable(f"release {release.id} is in service on one only: two does not answer")
        return served


async def test_users_are_brought_back_where_they_can_be_while_a_server_is_away(tmp_path: Path) -> None:
    deployer = Halved()
    world = World(folder=tmp_path, deployer=deployer)
    service = world.service()
    incident = await service.reconcile((await breach(world, service)).id)
    assert incident.state is State.OPEN
    deployer.away = True
    for _ in range(2):
        world.clock.now += timedelta(minutes=5)
        incident = await service.reconcile(incident.id)
    assert (incident.state, world.active) == (State.OPEN, world.good.id), "the incident waits, users do not"
    deployer.away = False
    assert (await carry_on(world, service, incident)).state is State.RECOVERED
    await service.aclose()


async def test_observe_without_a_recipe_says_that_nothing_here_can_repair(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.OBSERVE, recipes={})
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    assert "nothing here can repair it" in waiting.events[-1].note
    with pytest.raises(ConfigError, match=rf"`approve` would do nothing: .* serves {world.good.id}"):
        service.order(waiting.id, Order.APPROVE, by="ann")
    service.order(waiting.id, Order.ROLL_BACK, by="ann")
    done = await carry_on(world, service, waiting)
    assert (done.state, world.active) == (State.ESCALATED, world.good.id), "what it names instead helps"
    await service.aclose()


async def test_a_release_that_can_not_be_retired_undoes_no_recovery(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    await world.deployer.stage(world.release("third", GOOD))

    def hook(effect: str) -> None:
        if effect == "retire" and service.store.load(incident.id).state is State.CONFIRMING:
            raise DeployerUnavailable("gone for a moment")

    world.hook = hook
    assert (await carry_on(world, service, incident)).state is State.RECOVERED
    await service.aclose()


async def test_a_host_that_is_in_the_way_is_noted_and_tried_again(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    full = iter([OSError(28, "No space left on device")])

    def hook(effect: str) -> None:
        if effect == "patch" and (error := next(full, None)):
            raise error

    world.hook = hook
    done = await carry_on(world, service, incident)
    assert done.state is State.RECOVERED
    assert any("No space left" in e.note for e in done.events)
    await service.aclose()


async def test_a_tick_that_fails_by_itself_is_no_sweep(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    await service.tick("prod")
    assert status_json(service)["targets"][0]["up"]

    async def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    await Rounds(service, Guard(asyncio.Event()))._counted("tick", "prod", full)
    status = status_json(service)
    assert status["schedule"]["jobs"]["tick"]["failures"] == 1
    (target,) = status["targets"]
    assert (target["up"], target["sweeps_failed"], target["verdict"]) == (False, 1, "inconclusive")
    assert target["why"] == "the daemon's own fault, see its log; is its disk full?"
    service.store._db.writable = False  # type: ignore[attr-defined]
    await Rounds(service, Guard(asyncio.Event()))._counted("tick", "prod", full)
    assert status_json(service)["targets"][0]["why"].startswith("the store takes no change: locked, away, or its disk")
    await service.aclose()


def test_a_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "drifted").mkdir()
    os.mkfifo(tmp_path / "drifted" / "config.json")  # whoever opens it waits
    script = f"""
import asyncio
from pathlib import Path
from remediation.patch import PatchRequest
from remediation.worker import run_patch
folder = Path({str(tmp_path)!r})
request = PatchRequest(incident="i", recipe="one-shot-sft", drifted=folder / "drifted", reference=None,
                       output=folder / "out", seed=0)
asyncio.run(run_patch(request, timeout_seconds=100, on_progress=print))
"""
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        assert until(lambda: len(at_work(tmp_path)) == 1), "the worker began"
        (worker,) = at_work(tmp_path)
    finally:
        parent.kill()
        parent.wait(10)
    assert until(lambda: worker not in at_work(tmp_path)), "it ended with its parent"


def at_work(folder: Path) -> list[int]:
    """Process ids of workers whose request lies in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "remediation.worker" in line and str(folder) in line and "-c\0" not in line:
            found.append(int(entry.name))
    return found


def until(seen: Callable[[], bool], *, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen():
            return True
        time.sleep(0.05)
    return False
