"""The round over the incidents: every open one, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from monitor.incident import IncidentId, State
from monitor.policy import Order
from monitor.schedule import Rounds
from tests.e2e.test_daemon_fake import breach
from tests.fake_site import World

MANY = 150


async def guard(action: str, subject: str, work: Awaitable[None]) -> bool:
    del action, subject
    await work
    return True


async def test_an_order_on_the_oldest_of_many_open_incidents_is_carried_out(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    oldest = await breach(world, service)
    for i in range(1, MANY):
        later = replace(oldest, id=IncidentId(f"i{i}"), target=f"t{i}", opened_at=world.clock() + timedelta(seconds=i))
        service.store.create(later)
    service.order(oldest.id, Order.ABORT, by="ann")
    rounds = Rounds(service, guard)
    await rounds._round("incidents")
    await asyncio.gather(*rounds._steps.values())
    assert service.store.load(oldest.id).state is State.ESCALATED
    assert len(service.store.incidents(open_only=True)) == MANY - 1
    await service.aclose()
