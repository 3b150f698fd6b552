"""The front door: an ordinary release is measured before it serves, in a world of fakes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.checkpoint import release_names
from deploy.errors import CheckpointError, DeployerUnavailable, StageError, StoreInUse
from monitor import changing
from monitor.deploying import Asked, Deployment, DeployOutcome
from monitor.errors import NotMeasured, OpenIncident
from monitor.incident import IncidentId, open_incident
from monitor.service import Service
from monitor.status import status_json
from tests.fake_site import DRIFTED, GOOD, Ways, World, write_checkpoint


def fine_tune(world: World, ways: Ways, name: str = "tuned") -> Path:
    return write_checkpoint(world.folder / name, replace(ways, mark=name))


async def deploy(world: World, service: Service, checkpoint: object, *, promote: bool = True) -> Deployment:
    asked = Asked(checkpoint=str(checkpoint), name="prod", by="ann", promote=promote)
    return await service.deploy("prod", asked, lambda _stage, _share: None)


@pytest.fixture
async def certified(tmp_path: Path) -> tuple[World, Service]:
    """A target whose release in service was found good."""
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    for _ in range(5):
        await service.tick("prod")
    return world, service


async def test_a_good_fine_tune_is_promoted_and_the_old_release_kept_warm(certified: tuple[World, Service]) -> None:
    world, service = certified
    done = await deploy(world, service, fine_tune(world, GOOD))
    assert (done.outcome, done.why, done.replaces) == (DeployOutcome.PROMOTED, "", world.good.id)
    assert world.active == done.release.id
    assert set(world.deployer.up) == {world.good.id, done.release.id}
    manifest = done.release.manifest
    assert (manifest.parent, manifest.creator) == (world.good.id, "deploy:ann")
    assert done.held is not None
    assert done.held.verification.accepted
    assert set(done.profiles) == {"reference", "in service", "candidate"}
    for _ in range(8):
        await service.tick("prod")
    (target,) = status_json(service)["targets"]
    assert (target["release"], target["verdict"]) == (done.release.id, "safe"), "the daemon goes on with it"


@pytest.mark.parametrize(
    ("ways", "why"),
    [
        (DRIFTED, "ASR"), (Ways(asr=0.5), "ASR"), (Ways(worst="c1"), "ASR"), (Ways(utility=0.2), "task accuracy"),
        (Ways(over_refusal=1.0), "refuses"),
    ],
)  # fmt: skip
async def test_a_drifted_fine_tune_is_stopped_before_it_serves(
    certified: tuple[World, Service], ways: Ways, why: str
) -> None:
    world, service = certified
    done = await deploy(world, service, fine_tune(world, ways))
    assert done.outcome is DeployOutcome.FAILED
    assert done.held is not None
    assert why in done.why or "harmless" in done.why
    assert (world.active, world.promoted) == (world.good.id, [])
    assert set(world.deployer.up) == {world.good.id}, "the candidate holds no memory"
    assert done.release.id in release_names(world.folder / "releases"), "it can be looked at"
    assert not service.store.incidents()
    await service.aclose()


async def test_without_promotion_it_says_what_it_would_do_and_leaves_nothing_up(
    certified: tuple[World, Service],
) -> None:
    world, service = certified
    done = await deploy(world, service, fine_tune(world, GOOD), promote=False)
    assert done.outcome is DeployOutcome.PASSED
    assert (world.active, set(world.deployer.up)) == (world.good.id, {world.good.id})
    again = await deploy(world, service, done.release.id)
    assert (again.outcome, world.active) == (DeployOutcome.PROMOTED, done.release.id)


async def test_the_first_release_of_all_is_held_against_the_limits(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    world.deployer.active = ""
    world.deployer.up.clear()
    service = world.service()
    failed = await deploy(world, service, fine_tune(world, DRIFTED))
    assert (failed.outcome, world.active) == (DeployOutcome.FAILED, "")
    done = await deploy(world, service, fine_tune(world, GOOD, "fit"))
    assert (done.outcome, done.replaces, world.active) == (DeployOutcome.PROMOTED, "", done.release.id)


async def test_what_is_in_service_already_is_looked_at_and_never_stopped(certified: tuple[World, Service]) -> None:
    world, service = certified
    assert (await deploy(world, service, world.good.id)).outcome is DeployOutcome.PROMOTED
    world.deployer.serve(world.drifted)
    done = await deploy(world, service, world.drifted.id)
    assert (done.outcome, world.active) == (DeployOutcome.FAILED, world.drifted.id)
    assert world.drifted.id in world.deployer.up


async def test_a_release_that_does_not_come_up_has_not_passed(certified: tuple[World, Service]) -> None:
    world, service = certified
    world.deployer.broken = frozenset({"prod"})
    done = await deploy(world, service, fine_tune(world, GOOD))
    assert (done.outcome, done.held) == (DeployOutcome.FAILED, None)
    assert "did not come up" in done.why
    assert world.active == world.good.id


@pytest.mark.parametrize("fault", ["mute", "gone", "half", "incident", "changed"])
async def test_whatever_goes_wrong_nothing_is_promoted_and_nothing_left_up(
    certified: tuple[World, Service], fault: str
) -> None:
    world, service = certified
    tuned = fine_tune(world, GOOD)
    expected: type[Exception] = NotMeasured
    if fault == "mute":
        world.mute_profiles = True
    elif fault == "gone":
        world.deployer.down, expected = True, DeployerUnavailable
    elif fault == "half":
        (tuned / "model.safetensors").write_bytes(b"x")
        expected = CheckpointError
    elif fault == "incident":
        world.hook = lambda effect: opened(world, service) if effect == "staged" else None
        expected = OpenIncident
    else:
        world.hook = lambda effect: world.deployer.serve(world.drifted) if effect == "staged" else None
        expected = StageError
    with pytest.raises(expected):
        await deploy(world, service, tuned)
    world.hook = lambda _: None
    world.deployer.down = False
    assert not world.promoted
    assert not [r for r in world.deployer.up if r.startswith("prod@")]


def opened(world: World, service: Service) -> None:
    service.store.create(
        open_incident(
            incident=IncidentId("i"), target="prod", release="r", recipes=(), now=world.clock(), note="9 of 9 harmful"
        )
    )


async def test_a_target_under_repair_is_left_to_the_daemon(certified: tuple[World, Service]) -> None:
    world, service = certified
    opened(world, service)
    with pytest.raises(OpenIncident, match="alignd abort i"):
        await deploy(world, service, fine_tune(world, GOOD))
    assert release_names(world.folder / "releases") == tuple(sorted((world.good.id, world.drifted.id)))


async def test_two_at_once_are_one(certified: tuple[World, Service]) -> None:
    world, service = certified
    first, second = fine_tune(world, GOOD), fine_tune(world, GOOD, "other")
    found = await asyncio.gather(
        deploy(world, service, first), deploy(world, world.service(), second), return_exceptions=True
    )
    refused = [f for f in found if isinstance(f, StoreInUse)]
    assert len(refused) == 1
    assert "target prod is in use" in str(refused[0])
    assert len(world.promoted) == 1


@pytest.mark.parametrize("by_daemon", [False, True])
async def test_what_a_killed_one_left_up_is_stopped_by_the_next(
    certified: tuple[World, Service], *, by_daemon: bool
) -> None:
    world, service = certified

    class Killed(BaseException):
        pass

    def kill(effect: str) -> None:
        if effect == "staged":
            world.deployer.down = True
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        await deploy(world, service, fine_tune(world, DRIFTED))
    note = world.folder / "releases" / ".changes" / "prod.json"
    left = next(r for r in world.deployer.up if r.startswith("prod@"))
    note.write_text(f'{{"staged": ["{left}"]}}')
    if by_daemon:
        await world.service().prepare()
        assert left in world.deployer.up, "the serving side does not answer, which stops no daemon"
    world.deployer.down, world.hook = False, lambda _: None
    if by_daemon:
        await world.service().prepare()
        assert set(world.deployer.up) == {world.good.id}
    done = await deploy(world, service, fine_tune(world, GOOD, "fit"))
    assert set(world.deployer.up) == {world.good.id, done.release.id}


async def test_what_could_not_be_stopped_is_stopped_by_the_next(certified: tuple[World, Service]) -> None:
    world, service = certified

    def away(effect: str) -> None:
        if effect == "retire":
            raise DeployerUnavailable("the serving side does not answer")

    world.hook = away
    first = await deploy(world, service, fine_tune(world, DRIFTED))
    assert first.release.id in world.deployer.up
    again = await deploy(world, service, fine_tune(world, DRIFTED, "again"))
    world.hook = lambda _: None
    done = await deploy(world, service, fine_tune(world, GOOD, "fit"))
    assert not {first.release.id, again.release.id} & set(world.deployer.up)
    assert set(world.deployer.up) == {world.good.id, done.release.id}


async def test_what_the_daemon_staged_meanwhile_is_left_to_it(certified: tuple[World, Service]) -> None:
    world, service = certified
    candidate = world.release("candidate", GOOD)

    def repairs(effect: str) -> None:
        if effect == "staged":
            opened(world, service)
            world.deployer.up[candidate.id] = candidate

    world.hook = repairs
    with pytest.raises(OpenIncident):
        await deploy(world, service, fine_tune(world, GOOD))
    assert set(world.deployer.up) == {world.good.id, candidate.id}


async def test_a_warm_release_that_is_asked_about_stays_warm(certified: tuple[World, Service]) -> None:
    world, service = certified
    world.deployer.up[world.drifted.id] = world.drifted

    class Killed(BaseException):
        pass

    def kill(effect: str) -> None:
        if effect == "staged":
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        await deploy(world, service, world.drifted.id)
    world.hook = lambda _: None
    await deploy(world, service, world.good.id)
    assert world.drifted.id in world.deployer.up


async def test_a_disk_that_fills_up_takes_no_promotion_back(
    certified: tuple[World, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, service = certified

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    world.hook = lambda effect: monkeypatch.setattr(changing, "write_whole", full) if effect == "promoted" else None
    done = await deploy(world, service, fine_tune(world, GOOD))
    assert (done.outcome, world.active) == (DeployOutcome.PROMOTED, done.release.id)


async def test_a_start_clears_away_what_killed_imports_left(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    left = [tmp_path / "releases" / ".x@0.1.partial", tmp_path / "releases" / ".work" / ".i-0.1.partial"]
    for folder in left:
        folder.mkdir(parents=True)
    service = world.service()
    await service.prepare()
    assert not [folder for folder in left if folder.exists()]
    await service.aclose()
