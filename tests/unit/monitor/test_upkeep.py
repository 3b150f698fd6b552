"""The daemon keeps the store small where it is asked to, and never takes what anybody needs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.checkpoint import release_names
from deploy.retention import using_store
from monitor.api import make_api
from monitor.incident import IncidentId, open_incident
from monitor.schedule import Rounds
from monitor.service import Service
from monitor.upkeep import Retention
from tests.fake_site import Ways, World


@asynccontextmanager
async def daily(folder: Path, hours: float | None = 24.0) -> AsyncIterator[tuple[World, Service]]:
    world = World(folder=folder, retention=Retention(keep=2, sweep_hours=hours))
    for n in range(6):
        world.release(f"r{n}", Ways())
    service = world.service()
    await service.prepare()
    yield world, service
    await service.aclose()


def names(world: World) -> list[str]:
    return sorted(n.split("@")[0] for n in release_names(world.folder / "releases"))


async def figures(service: Service) -> dict[str, float]:
    transport = httpx.ASGITransport(app=make_api(service, healthy=lambda: True))
    async with httpx.AsyncClient(transport=transport, base_url="http://alignd") as http:
        page = (await http.get("/metrics")).text
    samples = [s for f in text_string_to_metric_families(page) for s in f.samples]
    return {s.name.removeprefix("alignd_store_"): s.value for s in samples if s.name.startswith("alignd_store_")}


async def test_what_nobody_needs_goes_once_a_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with daily(tmp_path) as (world, service):
        with caplog.at_level(logging.INFO, "alignd"):
            await service.upkeep.sweep()
        assert names(world) == ["good", "r4", "r5"]
        (line,) = [r.__dict__ for r in caplog.records if r.message == "store_swept"]
        assert (line["kept"], len(line["removed"])) == (3, 5)
        found = await figures(service)
        assert found.pop("swept_timestamp_seconds") == service.upkeep.swept_at.timestamp()  # type: ignore[union-attr]
        assert found.pop("freed_bytes_total") == line["freed_bytes"] > 0
        assert found.pop("bytes") == line["store_bytes"] > 0
        assert found == {"releases": 3, "removed_releases_total": 5, "sweeps_failed_total": 0}
        world.release("late", Ways())
        world.clock.now += timedelta(hours=23)
        await service.upkeep.sweep()
        assert names(world) == ["good", "late", "r4", "r5"]
        world.clock.now += timedelta(hours=2)
        await service.upkeep.sweep()
        assert names(world) == ["good", "late", "r5"]


async def test_by_default_nothing_is_removed_and_nothing_said(tmp_path: Path) -> None:
    async with daily(tmp_path, hours=None) as (world, service):
        await service.upkeep.sweep()
        assert len(names(world)) == 8
        assert await figures(service) == {}


@pytest.mark.parametrize("why", ["incident", "in use", "server away"])
async def test_in_doubt_everything_stays(tmp_path: Path, why: str) -> None:
    async with daily(tmp_path) as (world, service):
        store = world.folder / "releases"
        if why == "incident":
            now = world.clock()
            service.store.create(
                open_incident(incident=IncidentId("i"), target="prod", release="r", recipes=(), now=now, note="9")
            )
            await service.upkeep.sweep()
        elif why == "in use":
            with using_store(store):
                await service.upkeep.sweep()
        else:
            world.deployer.down = True
            await service.upkeep.sweep()
            await service.upkeep.sweep()
            world.deployer.down = False
        assert len(names(world)) == 8
        assert (await figures(service))["sweeps_failed_total"] == (2.0 if why == "server away" else 0.0)
        if why in {"in use", "server away"}:
            await service.upkeep.sweep()
            assert len(names(world)) == 3, "it is made up for at the next look, not at the next day"
            assert service.upkeep.why == ""


@pytest.mark.parametrize(("hours", "there"), [(24.0, True), (None, False)])
async def test_it_is_scheduled_where_it_is_asked_for(tmp_path: Path, *, hours: float | None, there: bool) -> None:
    async with daily(tmp_path, hours) as (_, service):
        async def guard(action: str, subject: str, work: object) -> bool:
            del action, subject
            work.close()  # type: ignore[attr-defined]
            return True

        rounds = Rounds(service, guard)
        rounds.start()
        assert ("sweep_store-releases" in {j.id for j in rounds._scheduler.get_jobs()}) == there
        await rounds.stop()
