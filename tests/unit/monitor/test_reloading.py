"""A configuration that is read again: what may change, and who keeps what while it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.bootstrap import build
from monitor.incident import IncidentId
from monitor.reloading import Reloader, fixed_parts
from monitor.schedule import Rounds
from monitor.settings import Settings
from monitor.statistics_settings import TripwireSettings
from tests.e2e.test_daemon_fake import breach
from tests.fake_site import World

TARGET = {"name": "prod", "endpoint": "http://127.0.0.1:1/v1", "model": "m"}
BEFORE = Settings(targets=[TARGET], key="long-enough-secret")  # type: ignore[arg-type,list-item]


@pytest.mark.parametrize(
    ("change", "fixed"),
    [
        ({}, ()),
        ({"targets": [{**TARGET, "name": "other"}]}, ()),
        ({"transcripts": {"days": 3}, "signing": {}}, ()),
        ({"key": "another-secret", "listen": {"port": 1}}, ("key", "listen")),
        ({"store": {"url": "sqlite:///other.db"}, "releases": "elsewhere"}, ("releases", "store")),
    ],
    ids=str,
)
def test_what_the_daemon_took_at_its_start_stays(change: dict[str, object], fixed: tuple[str, ...]) -> None:
    after = Settings(**{"targets": [TARGET], "key": "long-enough-secret", **change})  # type: ignore[arg-type]
    assert fixed_parts(BEFORE, after) == fixed


async def guard(action: str, subject: str, work: Awaitable[None]) -> bool:
    del action, subject
    await work
    return True


async def test_a_target_that_changes_keeps_its_evidence_and_its_epoch(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    for _ in range(4):
        await service.tick("prod")
    before = service.watched("prod")
    rounds = Rounds(service, guard)
    rounds.start()
    await rounds.adopt({"prod": replace(service.sites["prod"], approval_hours=1.0)})
    after = service.watched("prod")
    assert before
    assert after
    assert after[0].id == before[0].id
    assert after[1].position >= before[1].position
    assert service.sites["prod"].approval_hours == 1.0
    await rounds.stop()
    await service.aclose()


async def test_a_target_that_is_gone_is_planned_no_more(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    rounds = Rounds(service, guard)
    rounds.start()
    other = replace(service.sites["prod"], name="other")
    await rounds.adopt({"other": other})
    assert service.timing.next_run("tick-prod") is None
    assert service.timing.next_run("tick-other")
    assert list(service.sites) == ["other"]
    await rounds.stop()
    await service.aclose()


class Noted:
    """A target that says when it is closed."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True


async def test_a_step_under_way_keeps_its_site_until_it_ends(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    noted, ends = Noted(), asyncio.Event()
    old = replace(service.sites["prod"], target=noted)  # type: ignore[arg-type]
    service.sites["prod"] = old
    rounds = Rounds(service, guard)

    async def step() -> None:
        await ends.wait()
        assert not noted.closed

    service.sites["prod"] = world.site()
    incident = await breach(world, service)
    service.sites["prod"] = old
    under_way = rounds._steps[IncidentId(incident.id)] = asyncio.create_task(step(), name="prod")
    rounds._scheduler.start(paused=True)
    await rounds.adopt({"prod": replace(old, approval_hours=1.0, target=world.site().target)})
    await asyncio.sleep(0)
    assert not noted.closed
    ends.set()
    await under_way
    await asyncio.gather(*rounds._leaving)
    assert noted.closed
    await rounds.stop()
    await service.aclose()


async def test_a_reload_that_fails_half_way_leaves_all_as_it_was(tmp_path: Path) -> None:
    kept = {"store": {"url": f"sqlite:///{tmp_path}/a.db"}, "releases": tmp_path / "releases"}
    before = Settings(targets=[TARGET], key="long-enough-secret", **kept)  # type: ignore[arg-type,list-item]
    (target,) = before.targets
    endless = target.model_copy(update={"tripwire": TripwireSettings.model_construct(interval_seconds=1e12)})
    read = [before.model_copy(update={"targets": (t,)}) for t in (endless, target)]
    service = build(before)
    site = service.sites["prod"]
    rounds = Rounds(service, guard)
    rounds.start()
    reloader = Reloader(service, rounds, before, lambda: read.pop(0))
    with pytest.raises(OverflowError):
        await reloader.reload()
    assert service.configuration.refused == "a fault of the daemon's own, see its log (OverflowError)"
    assert service.sites["prod"] is site
    assert service.timing.next_run("tick-prod")
    assert await reloader.reload()
    assert service.configuration.refused == ""
    assert service.sites["prod"] is site
    await rounds.stop()
    await service.aclose()
