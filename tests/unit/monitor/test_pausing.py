"""A pause keeps a target from being probed until it ends, and says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from monitor.pausing import pause_in_force, pause_words
from monitor.status import status_json
from monitor.store import Pause
from tests.fake_site import World


async def test_a_paused_target_is_not_asked_and_that_is_no_failure(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.tick("prod")
    before = service.views["prod"]
    service.store.pause(
        Pause(target="prod", until=world.clock() + timedelta(hours=1), by="ann", at=world.clock())
    )
    await service.tick("prod")
    after = service.views["prod"]
    assert (after.up, after.sweeps, after.sweeps_failed) == (before.up, before.sweeps, before.sweeps_failed)
    (target,) = status_json(service)["targets"]
    assert target["paused"].startswith("paused by ann until ")
    world.clock.now += timedelta(hours=1)
    await service.tick("prod")
    assert service.views["prod"].sweeps == before.sweeps + 1
    assert status_json(service)["targets"][0]["paused"] == ""
    await service.aclose()


@pytest.mark.parametrize("until", [None, timedelta(minutes=5)])
async def test_words_and_end_of_a_pause(tmp_path: Path, until: timedelta | None) -> None:
    world = World(folder=tmp_path)
    service, now = world.service(), world.clock()
    pause = Pause(target="prod", until=now + until if until else None, by="bob", at=now)
    service.store.pause(pause)
    assert pause_in_force(service.store, "prod", now) == pause
    later = pause_in_force(service.store, "prod", now + timedelta(days=365))
    assert later == (None if until else pause)
    assert pause_words(pause).startswith("paused by bob")
    await service.aclose()
