"""A server that holds other weights than it says is noticed, told and mended; never against a person's word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.canary import Canary
from deploy.checkpoint import Release
from deploy.deployer import ServedRelease
from deploy.errors import DeployError, DeployerUnavailable, StageError
from deploy.signed import SignedDeployer
from deploy.testing import FakeDeployer
from monitor.api import make_api
from monitor.changing import changing
from monitor.effect import Step
from monitor.policy import MENDS_MAX, Mode
from monitor.served_check import ServedCheck
from monitor.service import Service
from monitor.site import Site
from monitor.status import status_json
from monitor.store import Pause, Store
from tests.e2e.test_daemon_fake import breach
from tests.fake_site import World
from tests.unit.monitor.test_served_check import canary


@dataclass
class Reloading(FakeDeployer):
    """Serves weights that can be swapped behind its back; to promote a release puts its own in place, where it can."""

    held: dict[str, str] = field(default_factory=dict)
    helpless: bool = False
    asked: int = 0
    during: Callable[[ServedRelease], None] = lambda _: None

    async def ask(self, served: ServedRelease, _: bool) -> Canary:
        self.asked += 1
        self.during(served)
        return replace(canary(self.held.get(served.release, served.release)), fingerprint=served.release)

    async def promote(self, release: Release) -> ServedRelease:
        if self.helpless:
            self.effects.append(("promote", release.id))
            raise StageError(f"release {release.id} was not put into service")
        if self.held.pop(release.id, ""):
            self.effects.append(("promote", release.id))
        return await FakeDeployer.promote(self, release)


@dataclass
class Renewed(Reloading):
    """Its server reads its weights again only where it is started afresh."""

    async def renew(self, release: Release) -> ServedRelease:
        self.held.pop(release.id, "")
        self.effects.append(("renew", release.id))
        return self._served(release.id)


@asynccontextmanager
async def proving(
    folder: Path, mode: Mode = Mode.AUTO, *, deployer: Reloading | None = None
) -> AsyncIterator[tuple[World, Reloading, Service]]:
    deployer = deployer or Reloading()

    def amend(site: Site, _: Store) -> Site:
        return replace(site, served=ServedCheck(releases=site.releases, ask=deployer.ask))

    world = World(folder=folder, mode=mode, deployer=deployer, amend=amend)
    service = world.service()
    await service.prepare()
    await service.tick("prod")
    await service.mending.prove("prod")
    yield world, deployer, service
    await service.aclose()


async def mismatches(service: Service) -> dict[str, float]:
    transport = httpx.ASGITransport(app=make_api(service, healthy=lambda: True))
    async with httpx.AsyncClient(transport=transport, base_url="http://alignd") as http:
        page = (await http.get("/metrics")).text
    families = text_string_to_metric_families(page)
    return {
        s.name.removeprefix("alignd_deployment_"): s.value
        for f in families for s in f.samples if s.name.startswith("alignd_deployment_m")
    }  # fmt: skip


async def again(world: World, service: Service, *, n: int = 1, seconds: float = 3600) -> None:
    for _ in range(n):
        world.clock.now += timedelta(seconds=seconds)
        await service.mending.prove("prod")


async def test_a_lying_server_is_mended(tmp_path: Path) -> None:
    async with proving(tmp_path) as (world, deployer, service):
        await again(world, service)
        assert await mismatches(service) == {"mismatch": 0.0, "mends_total": 0.0}
        deployer.held[world.good.id] = world.drifted.id
        await again(world, service)
        assert world.promoted == [world.good.id]
        assert await mismatches(service) == {"mismatch": 0.0, "mends_total": 1.0}
        (target,) = status_json(service)["targets"]
        assert not target["action_needed"]
        assert [(s["release"], s["mismatch"], s["unproved"]) for s in target["served"]] == [(world.good.id, "", "")]


async def test_a_server_that_a_promotion_leaves_as_it_is_is_started_afresh(tmp_path: Path) -> None:
    async with proving(tmp_path, deployer=Renewed(helpless=True)) as (world, deployer, service):
        deployer.held[world.good.id] = world.drifted.id
        await again(world, service)
        assert deployer.effects[-1] == ("renew", world.good.id)
        assert world.promoted == []
        assert await mismatches(service) == {"mismatch": 0.0, "mends_total": 1.0}
        assert not status_json(service)["targets"][0]["action_needed"]


async def test_in_observe_nothing_is_changed_and_everybody_is_told(tmp_path: Path) -> None:
    async with proving(tmp_path, Mode.OBSERVE) as (world, deployer, service):
        deployer.held[world.good.id] = world.drifted.id
        await again(world, service, n=3)
        assert world.promoted == []
        assert await mismatches(service) == {"mismatch": 1.0, "mends_total": 0.0}
        (target,) = status_json(service)["targets"]
        assert "log-probabilities up to" in target["served"][0]["mismatch"]


async def test_what_does_not_help_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with proving(tmp_path) as (world, deployer, service):
        deployer.held[world.good.id] = world.drifted.id
        deployer.helpless = True
        await again(world, service)
        await again(world, service, n=5, seconds=1)
        assert len(world.promoted) == 1, "pauses grow"
        await again(world, service, n=5)
        assert len(world.promoted) == MENDS_MAX
        assert status_json(service)["targets"][0]["action_needed"]
        deployer.held.clear()
        await again(world, service)
        assert not status_json(service)["targets"][0]["action_needed"]


async def test_a_paused_target_is_left_alone(tmp_path: Path) -> None:
    async with proving(tmp_path) as (world, deployer, service):
        deployer.held[world.good.id] = world.drifted.id
        service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock()))
        asked = deployer.asked
        await again(world, service, n=3)
        assert (deployer.asked, world.promoted) == (asked, [])


@dataclass
class Restarting(FakeDeployer):
    """Servers that come back without what is wanted, and may refuse it."""

    folder: Path | None = None
    away: tuple[str, ...] = ()
    error: DeployError | None = None
    tries: int = 0
    closed: bool = False

    async def wanted(self) -> Path | None:
        return self.folder

    async def lost(self) -> tuple[str, ...]:
        return self.away

    async def reassert(self) -> tuple[str, ...]:
        self.tries += 1
        if self.error:
            raise self.error
        lost, self.away = self.away, ()
        return lost

    async def aclose(self) -> None:
        self.closed = True


@asynccontextmanager
async def returning(folder: Path, mode: Mode = Mode.AUTO) -> AsyncIterator[tuple[World, Restarting, Service]]:
    deployer = Restarting(away=("http://one/v1",))

    def amend(site: Site, _: Store) -> Site:
        return replace(site, deployer=SignedDeployer(deployer, folder / "key"))

    world = World(folder=folder, mode=mode, deployer=deployer, amend=amend)
    service = world.service()
    await service.prepare()
    yield world, deployer, service
    await service.aclose()
    assert deployer.closed


async def round_of(world: World, service: Service, *, n: int = 1, seconds: float = 3600) -> None:
    for _ in range(n):
        world.clock.now += timedelta(seconds=seconds)
        await service.mending.reassert("prod")


async def test_a_server_that_came_back_without_it_gets_it_again_where_releases_must_be_signed_too(
    tmp_path: Path,
) -> None:
    async with returning(tmp_path) as (world, deployer, service):
        await round_of(world, service, n=3)
        assert (deployer.tries, deployer.away, service.mending.mends) == (1, (), {"prod": 1})


@pytest.mark.parametrize("why", ["observe", "paused", "somebody else changes it"])
async def test_what_nobody_may_change_is_not_reasserted(tmp_path: Path, why: str) -> None:
    async with returning(tmp_path, Mode.OBSERVE if why == "observe" else Mode.AUTO) as (world, deployer, service):
        if why == "paused":
            service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock()))
        step = Step(site=service.sites["prod"], store=service.store, say=lambda _stage, _share: None)
        async with changing(step) if why.startswith("somebody") else nullcontext():
            await round_of(world, service, n=3)
        assert (deployer.tries, deployer.away) == (0, ("http://one/v1",))
        assert not service.mending.given_up("prod"), "nobody has to be called"


async def test_a_server_that_is_away_is_waited_for_and_one_that_refuses_is_left_to_a_person(tmp_path: Path) -> None:
    async with returning(tmp_path) as (world, deployer, service):
        deployer.error = DeployerUnavailable("does not answer")
        await round_of(world, service, n=MENDS_MAX + 2)
        assert deployer.tries == MENDS_MAX + 2
        deployer.error = StageError("no")
        await round_of(world, service)
        await round_of(world, service, n=5, seconds=1)
        assert deployer.tries == MENDS_MAX + 3, "pauses grow"
        await round_of(world, service, n=5)
        assert deployer.tries == MENDS_MAX + 2 + MENDS_MAX
        assert status_json(service)["targets"][0]["action_needed"]
        deployer.away = ()
        await round_of(world, service)
        assert not status_json(service)["targets"][0]["action_needed"]


async def test_beside_an_open_incident_what_it_wants_is_reasserted(tmp_path: Path) -> None:
    async with returning(tmp_path) as (world, deployer, service):
        deployer.away = ()
        await breach(world, service)
        deployer.away = ("http://one/v1",)
        await round_of(world, service)
        assert deployer.tries == 1


async def test_beside_an_open_incident_the_incident_decides(tmp_path: Path) -> None:
    async with proving(tmp_path) as (world, deployer, service):
        await breach(world, service)
        await again(world, service)
        deployer.held[world.active] = world.good.id
        promoted = world.promoted
        await again(world, service, n=3)
        assert (await mismatches(service))["mismatch"] == 1.0
        assert world.promoted == promoted


async def test_what_a_person_promotes_meanwhile_stays(tmp_path: Path) -> None:
    async with proving(tmp_path) as (world, deployer, service):
        await again(world, service)
        deployer.held[world.good.id] = world.drifted.id
        looks = deployer.asked

        def promoted(served: ServedRelease) -> None:
            if served.release == world.drifted.id:
                deployer.serve(world.drifted)

        deployer.up[world.drifted.id] = world.drifted  # warm, and asked after the wrong one
        deployer.during = promoted
        await again(world, service)
        assert deployer.asked > looks + 1
        assert (world.active, world.promoted) == (world.drifted.id, [])
