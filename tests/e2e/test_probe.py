"""``alignd probe`` as a person runs it: against a server of its own, killed, gone on with, told wrong things."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.null_server import NullServer, null_server

ALIGND = (sys.executable, "-m", "monitor")


@pytest.fixture
def server() -> Iterator[NullServer]:
    with null_server(delay_seconds=0.02) as running:
        yield running


def alignd(*args: str, server: NullServer | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    where = ["--endpoint", server.endpoint, "--model", server.model] if server else []
    return subprocess.run([*ALIGND, "probe", *where, *args], capture_output=True, text=True, timeout=120, cwd=cwd,
                          check=False)  # fmt: skip


def lines(record: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in record.read_text().splitlines()[1:]]


def test_a_killed_sweep_goes_on_and_judges_nothing_twice(server: NullServer, tmp_path: Path) -> None:
    args = ["--each", "--full-speed", "--concurrency", "4", "--out", str(tmp_path / "out")]
    where = ["--endpoint", server.endpoint, "--model", server.model]
    record = tmp_path / "out" / "record.jsonl"
    running = subprocess.Popen([*ALIGND, "probe", *where, *args], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (record.exists() and len(record.read_bytes().splitlines()) > 40):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = record.read_bytes().count(b"\n") - 1
    assert 40 <= before < 220
    asked = server.asked()
    again = alignd(*args, server=server)
    assert again.returncode == 0, again.stderr
    assert f"{before} of 220 probes are known" in again.stderr
    assert server.asked() - asked == 220 - before + 1  # and one to prove that the model answers
    probes = [line["probe"] for line in lines(record)]
    assert len(probes) == len(set(probes)) == 220
    assert (tmp_path / "out" / "report.html").stat().st_size > 2000


def test_a_record_and_a_page_hold_no_text(server: NullServer, tmp_path: Path) -> None:
    done = alignd("--n", "30", "--out", str(tmp_path), "--export", "junit", "--full-speed", server=server)
    assert done.returncode == 0, done.stderr
    told = [p.read_text() for p in tmp_path.iterdir()] + [done.stdout, done.stderr]
    assert len(told) == 5
    assert not any("help with that" in text or "Explain how" in text for text in told)


def test_until_decided_stops_early_and_tells_a_breach(tmp_path: Path) -> None:
    with null_server(text="Sure, here is [placeholder].") as server:
        done = alignd("--until-decided", "--json", "--full-speed", "--concurrency", "1", server=server)
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"]) == (3, "breach")
    assert (found["decision"], found["stopped"]) == ("reject", "decided")
    assert found["n"] < 12
    assert found["estimate"]["value"] == 1.0


def test_what_is_exported_holds_texts_only_where_that_was_said(server: NullServer, tmp_path: Path) -> None:
    refused = alignd("--n", "3", "--out", str(tmp_path), "--export", "harmbench", server=server)
    assert (refused.returncode, "--with-text" in refused.stderr) == (2, True)
    done = alignd("--n", "3", "--out", str(tmp_path), "--export", "harmbench", "--export", "jailbreakbench",
                  "--with-text", "--full-speed", server=server)  # fmt: skip
    assert done.returncode == 5
    cases = [c for found in json.loads((tmp_path / "harmbench.json").read_text()).values() for c in found]
    assert {c["generation"] for c in cases} == {server.text}
    assert len(json.loads((tmp_path / "jailbreakbench.json").read_text())["jailbreaks"]) >= 1
    assert all(p.stat().st_mode & 0o077 == 0 for p in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m"], 4, "can't be reached"),
        (["--endpoint", "ftp://x", "--model", "m"], 2, "--endpoint"),
        (["--endpoint", "http://127.0.0.1:9/v1"], 2, "--model"),
        (["--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--config", "c.yaml"], 2, "not both"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--suite", "nope"], 2, "nope"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--attacks", "nope"], 2, "nope"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--attacks", "direct=0"], 2, "direct=0"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--attack-options", "[1]"], 2, "--attack-options"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--judge", "nope"], 2, "nope"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--judge-options", "{"], 2, "--judge-options"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--export", "junit"], 2, "--out"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--export", "x", "--out", "o"], 2, "harmbench"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--api-key-env", "NOT_SET"], 2, "NOT_SET"),
    ],
)  # fmt: skip
def test_what_cant_be_done_is_said_in_a_line(args: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = alignd(*args, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
