"""What ``alignd status`` learns of the serving sides."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from deploy.deployer import DeploymentState
from deploy.testing import FakeDeployer
from monitor.looking import look_at_deployments
from monitor.status import status_json
from monitor.tables import status_tables
from tests.fake_site import World


class Hanging(FakeDeployer):
    """Takes questions and answers none."""

    async def state(self) -> DeploymentState:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise AssertionError("nobody waits so long")


async def seen(world: World, seconds: float = 2.0) -> tuple[dict[str, Any], str]:
    """Look as a process of its own would; return the target's status, and what a terminal shows of it."""
    service = world.service()
    await look_at_deployments(service, seconds=seconds)
    said = status_json(service)
    await service.aclose()
    return said["targets"][0], " ".join(str(line) for line in status_tables(said))


async def test_a_quarantine_is_seen_by_who_has_not_probed(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    before, served = (await seen(world))[0], world.active
    assert (before["quarantine"], before["deployment"]["active"]) == (None, served)
    await world.deployer.quarantine("out of service: incident i")
    target, shown = await seen(world)
    assert (target["quarantine"]["why"], target["quarantine"]["release"]) == ("out of service: incident i", served)
    assert "quarantined, users get 503: out of service: incident i; `alignd quarantine lift` ends that" in shown


async def test_a_serving_side_that_is_away_is_named_beside_what_the_store_knows(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    await service.tick("prod")
    await service.aclose()
    before = (await seen(world))[0]
    world.deployer.down = True
    target, shown = await seen(world)
    assert target["why"]
    assert target["why"] in shown
    assert (target["up"], target["last_sweep_at"]) == (before["up"], before["last_sweep_at"])
    assert target["deployment"] is None


async def test_one_that_hangs_is_waited_for_no_longer_than_said(tmp_path: Path) -> None:
    world = World(folder=tmp_path, deployer=Hanging())
    target, shown = await seen(world, seconds=0.01)
    assert target["why"] == "target prod: the serving side did not answer within 0.01 s"
    assert target["why"] in shown
