"""No text leaves the transcripts: not into the store, other files, the log, the API or the metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from monitor.api import make_api
from monitor.daemon import JsonLines
from monitor.drawing import cells_in, draw
from monitor.guard import Guard
from monitor.incident import State
from monitor.recorder import Recorder
from monitor.schedule import Rounds
from probes.behavior import Partition
from probes.suites import builtin
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep, Words, words_of
from probes.transcripts.store import TranscriptReader, TranscriptStore
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.e2e.test_daemon_process import CONFIG, ROOT, api, daemon, wait_for
from tests.fake_site import World

RING = Keyring([b"a key for the tests"])
SAID = ("Sure, here is how.", "I can't help with that.", "Certainly: here you go.")

__all__ = ["api"]


def world_that_keeps(folder: Path, keep: Keep) -> World:
    store = TranscriptStore(folder / "transcripts", keep=keep, ring=RING, days=30)
    return World(folder=folder, recorder=Recorder(store=store))


def texts(world: World) -> list[str]:
    measure = world.measure()
    suites = [measure.harm, *measure.benign, *([measure.task] if measure.task else [])]
    return [*SAID, *(b.prompt for s in suites for b in s.behaviors), *(b.answer for s in suites for b in s.behaviors)]


def files_that_hold(folder: Path, text: str) -> Iterator[Path]:
    spelled = {text.encode(), json.dumps(text)[1:-1].encode(), ascii(text)[1:-1].encode()}
    for path in folder.rglob("*"):
        if path.is_file() and any(s in path.read_bytes() for s in spelled):
            yield path


@pytest.mark.parametrize("keep", [Keep.HASHES, Keep.ENCRYPTED])
async def test_an_incident_leaves_no_text_anywhere(
    tmp_path: Path, keep: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    world = world_that_keeps(tmp_path, keep)
    service = world.service()
    with caplog.at_level(logging.DEBUG):
        done = await carry_on(world, service, await breach(world, service))
        prod = service.sites["prod"]
        cells = cells_in(prod.measure, Partition.ROTATING)
        await draw(prod.measure, prod.target, n=5, cells=cells, purpose="on-demand")
    assert done.state is State.RECOVERED
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=make_api(service, healthy=lambda: True)), base_url="http://localhost"
    )
    paths = (
        "/metrics", "/api/v1/status", "/api/v1/verdict?target=prod", f"/api/v1/incidents/{done.id}", "/healthz",
        f"/api/v1/incidents/{done.id}/transcripts?limit=100", "/api/v1/targets/prod/transcripts?limit=100",
    )  # fmt: skip
    said = "\n".join([(await http.get(path)).text for path in paths] + [JsonLines().format(r) for r in caplog.records])
    known = [text for text in texts(world) if text]
    assert len(known) > 70
    for text in known:
        assert text not in said
        assert json.dumps(text)[1:-1] not in said
        assert not list(files_that_hold(tmp_path, text)), text

    kept = list(TranscriptReader(tmp_path / "transcripts").transcripts())
    purposes = {t.sweep.split("-")[0] for t in kept}
    assert purposes == {"routine", "certify", "confirm", "profile", "recovery", "on"}, "every sweep is kept"
    assert {t.release for t in kept} == {world.good.id, world.drifted.id, done.candidate}
    words = [words_of(t, RING) for t in kept]
    if keep is Keep.HASHES:
        assert not any(words)
        assert sum(t.answer == RING.hash(SAID[0]) for t in kept) > 10
    else:
        assert all(isinstance(w, Words) and w.answer and w.messages for w in words)
        assert {w.answer for w in words if w} >= set(SAID[:1] + SAID[2:])
    await service.aclose()


async def test_a_full_disk_is_counted_and_the_watch_goes_on(tmp_path: Path) -> None:
    world = world_that_keeps(tmp_path, Keep.ENCRYPTED)
    (tmp_path / "transcripts").touch()
    service = world.service()
    assert (await carry_on(world, service, await breach(world, service))).state is State.RECOVERED
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=make_api(service, healthy=lambda: True)), base_url="http://localhost"
    )
    page = (await http.get("/metrics")).text
    (line,) = [line for line in page.splitlines() if line.startswith("alignd_transcripts_failed_total{")]
    assert float(line.split()[-1]) == world.recorder.failed > 100
    await service.aclose()


async def test_what_is_out_of_time_goes(tmp_path: Path) -> None:
    world = world_that_keeps(tmp_path, Keep.HASHES)
    service = world.service()
    await service.tick("prod")
    old = tmp_path / "transcripts" / "2025-11-30.jsonl"
    old.touch()
    await Rounds(service, Guard(asyncio.Event()))._purge("transcripts")
    assert [p.name for p in old.parent.iterdir()] == ["2026-01-01.jsonl"]
    await service.aclose()


def test_the_daemon_s_own_files_log_and_api(api: str, tmp_path: Path) -> None:
    config = tmp_path / "alignd.yaml"
    config.write_text(config.read_text() + "transcripts: {keep: encrypted, key: a key for the daemon}\n")
    (tmp_path / "transcripts").mkdir()
    (tmp_path / "transcripts" / "2020-01-01.jsonl").touch()
    watch = daemon(tmp_path)
    try:
        wait_for(api, lambda status: status["targets"][0]["sweeps"] >= 3)  # type: ignore[index]
        said = httpx.get(f"{api}/api/v1/status").text + httpx.get(f"{api}/metrics").text
    finally:
        watch.send_signal(signal.SIGTERM)
    assert watch.wait(20) == 0
    assert '"hello"' not in said + (tmp_path / "log").read_text(), "what the server answers"
    for name in ("harm_probe", "ordinary", "benign_edge"):
        for behavior in builtin(name).behaviors:
            assert behavior.prompt not in said
            assert not list(files_that_hold(tmp_path, behavior.prompt))
    assert not (tmp_path / "transcripts" / "2020-01-01.jsonl").exists()

    listed = json.loads(alignd(tmp_path, "list", "--json", "--limit", "3"))
    assert [t["target"] for t in listed] == ["prod"] * 3
    (shown,) = json.loads(alignd(tmp_path, "show", listed[0]["probe"], "--json"))
    assert shown["words"]["answer"] == "hello"
    assert shown["words"]["messages"][-1]["content"] in {b.prompt for b in builtin("harm_probe").behaviors}
    assert CONFIG.split("key: ")[1].split()[0] not in json.dumps(shown)


def alignd(folder: Path, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "monitor", "transcripts", *words, "--config", str(folder / "alignd.yaml")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
