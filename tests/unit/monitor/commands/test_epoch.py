"""``alignd epoch``: the way out of a log that can't be read, and what a log fault leaves standing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from monitor import cli
from monitor.api import make_api
from monitor.commands.epoch import begin_anew
from monitor.errors import ConfigError
from monitor.prober import Prober
from monitor.service import Service
from monitor.status import status_json
from monitor.stores.sql import SqlStore
from tests.fake_site import World
from tests.unit.monitor.command_line import Alignd, called_in


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    """Call the command on the store of a world in the same folder."""
    monkeypatch.setenv("ALIGND_STORE__URL", f"sqlite:///{tmp_path}/s.db")
    call = called_in(tmp_path, monkeypatch, capsys, columns=400)
    assert call("init", "--checkpoint", "/x", "--model", "m")[0] == 0
    return call


async def with_a_gap(world: World) -> Service:
    """Probe, lose a record, and start the daemon again."""
    service = world.service()
    await service.prepare()
    for _ in range(3):
        await service.tick("prod")
    held = service.watched("prod")
    assert held is not None
    last = service.store.entries(held[0])[-1]
    service.store.append("prod", [replace(last, position=last.position + 2)])
    await service.aclose()
    return world.service()


async def left_with_a_gap(folder: Path) -> None:
    await (await with_a_gap(World(folder=folder))).aclose()


async def test_a_gap_stops_the_target_and_is_named_and_metrics_stay(tmp_path: Path) -> None:
    service = await with_a_gap(World(folder=tmp_path))
    named = "epoch 1, record 10"
    (target,) = status_json(service)["targets"]
    assert named in target["why"], "before the first tick"
    await service.tick("prod")
    (target,) = status_json(service)["targets"]
    assert (target["up"], target["asr"], target["verdict"]) == (False, None, "inconclusive")
    assert named in target["why"]
    assert "alignd epoch new prod" in target["why"]
    transport = httpx.ASGITransport(app=make_api(service, healthy=lambda: True))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        scraped = await client.get("/metrics")
        verdict = await client.get("/api/v1/verdict", params={"target": "prod"})
    assert scraped.status_code == 200
    assert 'alignd_target_up{target="prod"} 0\n' in scraped.text
    assert named in verdict.json()["why"]
    await service.aclose()


async def test_a_new_epoch_gets_a_running_daemon_going_again(tmp_path: Path) -> None:
    service = await with_a_gap(World(folder=tmp_path))
    await service.tick("prod")
    assert not service.views["prod"].up
    before, begun = begin_anew(service.store, "prod", by="ann", reason="disk lost", at=service.clock())
    assert (before.id, begun.id, begun.release) == (1, 2, before.release)
    await service.tick("prod")
    held = service.watched("prod")
    assert held is not None
    assert (held[0].id, held[0].key, held[1].position) == (3, before.key, 8), "a proper epoch, from its beginning"
    assert service.views["prod"].up
    assert len(service.store.entries(before)) == 9, "the old records stay"
    await service.aclose()


async def test_the_evidence_so_far_counts_no_more_while_all_else_stays(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    world.deployer.serve(world.drifted)
    world.mute_profiles = True
    await service.prober.tick("prod")
    held = service.watched("prod")
    assert held is not None
    assert held[1].log_r > 0
    begin_anew(service.store, "prod", by="ann", reason="", at=service.clock())
    prober = Prober(sites=service.sites, store=service.store, clock=world.clock, checks=service.checks)
    after = prober.watched("prod")
    assert after is not None
    assert (after[1].position, after[0].release, after[0].baseline) == (0, held[0].release, held[0].baseline)
    assert {k.release for k in service.store.known("prod")} == {world.good.id}
    await service.aclose()


def test_a_target_without_an_epoch_has_nothing_to_begin_anew(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    store = SqlStore(f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(ConfigError, match="prod has no epoch yet"):
        begin_anew(store, "prod", by="ann", reason="", at=world.clock())
    store.close()


def test_the_commands(tmp_path: Path, alignd: Alignd) -> None:
    assert alignd("epoch", "show")[1] == "prod: no epoch yet\n"
    asyncio.run(left_with_a_gap(tmp_path))
    code, out, _ = alignd("status")
    assert (code, "prod: probe log of target prod, epoch 1, record 10" in out) == (0, True)
    code, out, _ = alignd("epoch", "show", "prod")
    assert code == 0
    assert "epoch 1 of release good@" in out
    assert "can't be read: probe log of target prod, epoch 1, record 10" in out
    code, out, _ = alignd("epoch", "new", "prod", "--reason", "disk\x1blost")
    assert (code, "begins anew with epoch 2; nothing of epoch 1 counts" in out) == (0, True)
    code, out, _ = alignd("epoch", "show")
    assert "0 probes, 0 missing, phase idle" in out
    assert "disk?lost" in out
    assert "before it is gone" not in alignd("status")[1]


@pytest.mark.parametrize("verb", ["new", "show"])
def test_an_unknown_target_is_refused_with_those_there_are(alignd: Alignd, verb: str) -> None:
    code, _, err = alignd("epoch", verb, "nope")
    assert code == cli.USAGE
    assert "there are: prod" in err
