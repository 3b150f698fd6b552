"""A candidate that is on its way up when its incident is ended: it is stopped, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from deploy.checkpoint import Release
from deploy.deployer import ServedRelease
from deploy.testing import FakeDeployer
from monitor.incident import Incident, State
from monitor.policy import Order
from monitor.service import Service
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import World


class Supervised(FakeDeployer):
    """Goes on with what it was asked for when nobody waits for it any more, one change of a release at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.ready, self.asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._lock = asyncio.Lock()

    async def stage(self, release: Release) -> ServedRelease:
        return await asyncio.shield(asyncio.ensure_future(self._stage(release)))

    async def _stage(self, release: Release) -> ServedRelease:
        async with self._lock:
            self.begun.set()
            await self.ready.wait()
            return await super().stage(release)

    async def retire(self, release: str) -> None:
        self.asked.set()
        async with self._lock:
            await super().retire(release)


@asynccontextmanager
async def staging(folder: Path) -> AsyncIterator[tuple[World, Supervised, Service, Incident]]:
    """Give a world whose candidate comes up: its step was cancelled, as by an order."""
    deployer = Supervised()
    world = World(folder=folder, deployer=deployer)
    service = world.service()
    incident = await breach(world, service)
    step = asyncio.create_task(carry_on(world, service, incident))
    await asyncio.wait_for(deployer.begun.wait(), 60)
    deployer.asked.clear()
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    assert service.store.load(incident.id).state is State.STAGING
    yield world, deployer, service, incident
    await service.aclose()


def up(world: World) -> set[str]:
    return set(world.deployer.up) - {world.good.id, world.drifted.id}


@pytest.mark.parametrize("order", [Order.ABORT, Order.ROLL_BACK])
async def test_what_comes_up_while_its_incident_is_ended_is_stopped(tmp_path: Path, order: Order) -> None:
    async with staging(tmp_path) as (world, deployer, service, incident):
        service.order(incident.id, order, by="ann")
        ending = asyncio.create_task(carry_on(world, service, incident))
        await asyncio.wait([ending], timeout=1)
        deployer.ready.set()
        done = await ending
        assert done.state is State.ESCALATED
        assert deployer.asked.is_set()
        assert up(world) == set()
        assert done.trials[0].candidate, "the report names it"


async def test_whoever_comes_after_a_kill_stops_it_although_it_is_not_up_yet(tmp_path: Path) -> None:
    async with staging(tmp_path) as (world, deployer, service, incident):
        service.order(incident.id, Order.ABORT, by="ann")
        ending = asyncio.create_task(service.reconcile(incident.id))
        await asyncio.wait_for(deployer.asked.wait(), 10)
        assert service.store.load(incident.id).closed
        ending.cancel()
        with suppress(asyncio.CancelledError):
            await ending
        deployer.asked.clear()
        after = world.service()
        starting = asyncio.create_task(after.prepare())
        await asyncio.wait([starting], timeout=1)
        deployer.ready.set()
        await starting
        assert deployer.asked.is_set()
        assert up(world) == set()
        await after.aclose()
