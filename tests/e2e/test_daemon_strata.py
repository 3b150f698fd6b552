"""Baselines, sentinels, strata and epochs in the whole loop; everything outside is in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.baseline import SENTINEL
from monitor.incident import State
from monitor.service import Service
from monitor.status import status_json
from monitor.watch import SURVEY, Phase
from probes.statistics.evalues import Decision
from tests.e2e.test_daemon_fake import carry_on
from tests.fake_site import RATES, Ways, World

BACKDOOR = Ways(worst="c7")


def world_of(folder: Path) -> World:
    return World(folder=folder, rates=replace(RATES, baseline_probes=900), prompts=400, categories=20)


async def with_baseline(world: World, service: Service) -> None:
    await service.prepare()
    for _ in range(300):
        await service.tick("prod")
        held = service.watched("prod")
        if held and held[0].baseline:
            return
    raise AssertionError("no baseline")


async def until_incident(service: Service, *, ticks: int) -> int:
    """Tick until an incident is open; return how many routine probes its epoch took."""
    for _ in range(ticks):
        await service.tick("prod")
        if service.store.incidents(open_only=True):
            held = service.watched("prod")
            assert held
            return held[1].position
    raise AssertionError("no incident was opened")


async def test_a_good_release_gets_a_baseline_with_sentinels(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await with_baseline(world, service)
    epoch, watch = service.watched("prod") or pytest.fail("nothing is watched")
    baseline = epoch.baseline
    assert baseline
    assert baseline.release == world.good.id
    assert sum(t.n for t in baseline.strata.values()) >= 900
    assert len(baseline.sentinels) > 40
    assert baseline.flips.n == len(baseline.sentinels)
    assert watch.nulls.keys() >= {"c7/direct", SENTINEL}
    assert all(RATES.p0 <= p0 < 0.5 for name, p0 in watch.nulls.items() if name != SENTINEL)
    await service.tick("prod")
    (target,) = status_json(service)["targets"]
    assert target["baseline"] == world.good.id
    assert target["phase"] == "idle"
    await service.aclose()


async def test_one_category_of_twenty_is_found_confirmed_and_repaired(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await with_baseline(world, service)
    backdoored = world.release("backdoored", BACKDOOR)
    world.deployer.serve(backdoored)
    probes = await until_incident(service, ticks=60)
    assert probes < 300
    incident = service.store.incidents(open_only=True)[0]
    assert incident.facts["evidence"]["fired"] == ["c7/direct"]
    assert "c7/direct" in incident.events[0].note
    held = service.watched("prod")
    assert held
    assert held[0].baseline
    assert held[0].baseline.release == world.good.id, "held against the last good release"
    done = await carry_on(world, service, incident)
    assert done.state is State.RECOVERED, done.events
    assert done.facts["confirmation"]["decision"] == "reject"
    assert done.facts["recovery"]["decision"] == "accept"
    assert done.facts["recovery_of_strata"]["decision"] == "accept"
    await service.tick("prod")
    held = service.watched("prod")
    assert held
    assert held[0].baseline is None, "a repaired release is not held against what it replaced"
    await service.aclose()


async def test_a_new_process_reads_the_same_state_to_the_bit(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await with_baseline(world, service)
    world.deployer.serve(world.release("weaker", Ways(asr=0.05)))
    for _ in range(12):
        await service.tick("prod")
    before = service.watched("prod")
    await service.aclose()
    again = world.service()
    assert again.watched("prod") == before
    assert again.watched("prod") is again.watched("prod"), "a long log is folded once"
    await again.aclose()


async def test_another_server_version_begins_a_new_epoch(tmp_path: Path) -> None:
    world = World(folder=tmp_path, version="0.32.0")
    service = world.service()
    await service.prepare()
    ids = []
    for version in ("0.32.0", "0.32.0", "", "0.33.0"):
        world.version = version
        await service.tick("prod")
        held = service.watched("prod")
        assert held
        ids.append(held[0].id)
    assert ids[0] == ids[1] == ids[2], "a server that does not say has not changed"
    assert ids[3] != ids[0]
    await service.aclose()


@pytest.mark.parametrize("version", ["0.32.0", "0.32.0/cu12/"])
async def test_a_server_that_does_not_say_its_version_after_a_restart_has_not_changed(
    tmp_path: Path, version: str
) -> None:
    world = World(folder=tmp_path, version=version)
    service = world.service()
    await service.prepare()
    await service.tick("prod")
    before = service.watched("prod") or pytest.fail("nothing is watched")
    await service.aclose()
    world.version = ""
    again = world.service()
    for _ in range(3):
        await again.tick("prod")
    after = again.watched("prod") or pytest.fail("nothing is watched")
    assert after[0] == before[0]
    assert after[1].position > before[1].position, "the evidence goes on"
    world.version = "0.33.0"
    await again.tick("prod")
    other = again.watched("prod") or pytest.fail("nothing is watched")
    assert other[0].id != before[0].id
    await again.aclose()


async def test_a_release_that_is_worse_than_the_last_good_one_is_probed_faster(tmp_path: Path) -> None:
    world = World(folder=tmp_path, rates=replace(RATES, p0=0.6, p1=0.9), prompts=120)
    service = world.service()
    await service.prepare()
    for _ in range(40):
        await service.tick("prod")
    world.deployer.serve(world.release("weaker", Ways(asr=0.55)))
    urgency = 0.0
    for _ in range(8):
        urgency = max(urgency, await service.tick("prod"))
        held = service.watched("prod")
        assert held
        if held[1].canary.decision is Decision.REJECT:
            break
    assert held[1].canary.decision is Decision.REJECT
    assert held[1].phase is Phase.IDLE
    assert urgency == 1.0 or held[1].certified
    await service.aclose()


async def test_the_whole_suite_is_named_where_the_whole_suite_drifts(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await with_baseline(world, service)
    world.deployer.serve(world.drifted)
    await until_incident(service, ticks=20)
    assert service.store.incidents(open_only=True)[0].facts["evidence"]["fired"] in ([SURVEY], [SENTINEL])
    await service.aclose()


async def test_the_log_of_a_target_that_is_not_probed_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await service.prepare()
    await service.tick("prod")
    await service.aclose()
    service = world.service()
    read, entries = [], service.store.entries
    monkeypatch.setattr(service.store, "entries", lambda epoch: read.append(epoch.id) or entries(epoch))
    said = [status_json(service)["targets"][0]["evidence"]["n"] for _ in range(3)]
    assert said == [8, 8, 8]
    assert len(read) == 1
    await service.aclose()
