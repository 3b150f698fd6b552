"""What is left of a killed supervisor's servers is ended by the next one, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.vllm import left_over as module
from deploy.vllm.left_over import ServerSession, end_left_over, left_over, remember
from tests.processes import in_session

SUPERVISOR = """
import subprocess, sys
from pathlib import Path
from deploy.vllm.left_over import remember
server = subprocess.Popen(["sh", "-c", "sleep 100 & exec sleep 100"], start_new_session=True, stdin=-3, stdout=-3)
remember(Path(sys.argv[1]), server.pid)
print(server.pid, flush=True)
if sys.argv[2] == "stay":
    sys.stdin.read()
"""


def supervisor(folder: Path, then: str) -> tuple[subprocess.Popen[str], int]:
    """A process that starts a server, whose own process outlives it, and goes."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), then], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    leader = int(process.stdout.readline())
    while len(in_session(leader)) < 2:
        pass
    return process, leader


@pytest.fixture
def gone(tmp_path: Path) -> Iterator[int]:
    process, leader = supervisor(tmp_path, "go")
    process.communicate()
    yield leader
    for pid in in_session(leader):
        os.kill(pid, 9)


async def test_an_engine_whose_server_was_killed_is_ended(tmp_path: Path, gone: int) -> None:
    os.kill(gone, 9)
    (session,) = left_over(tmp_path)
    assert session.leader == gone
    await end_left_over([session])
    assert not in_session(gone)


async def test_a_server_that_lets_requests_end_has_its_time(
    tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(end_left_over(left_over(tmp_path)), 1.2)
    assert len(in_session(gone)) == 2
    monkeypatch.setattr(module, "DRAINED_SECONDS", 0.0)
    await end_left_over(left_over(tmp_path))
    assert not in_session(gone)


async def test_servers_of_a_supervisor_that_runs_are_its_own(tmp_path: Path) -> None:
    process, leader = supervisor(tmp_path, "stay")
    try:
        assert left_over(tmp_path) == ()
        os.kill(leader, 9)
        assert left_over(tmp_path) == ()
    finally:
        process.communicate()
        assert [s.leader for s in left_over(tmp_path)] == [leader]
        await end_left_over(left_over(tmp_path))
    assert not in_session(leader)


async def test_a_process_that_has_the_id_now_is_left_alone(tmp_path: Path, gone: int) -> None:
    (session,) = left_over(tmp_path)
    await end_left_over([replace(session, started=session.started - 1)])
    assert len(in_session(gone)) == 2
    rebooted = [replace(session, boot="another")]
    (tmp_path / "sessions.json").write_text(json.dumps([{k: getattr(s, k) for k in s.__slots__} for s in rebooted]))
    assert left_over(tmp_path) == ()


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"leader": 1}]', "null", '{"leader": 1}'])
def test_a_damaged_note_names_nothing(tmp_path: Path, text: str) -> None:
    assert left_over(tmp_path) == ()
    (tmp_path / "sessions.json").write_text(text)
    assert left_over(tmp_path) == ()


def test_notes_do_not_pile_up(tmp_path: Path, gone: int, caplog: pytest.LogCaptureFixture) -> None:
    dead = subprocess.Popen(["true"])
    remember(tmp_path, dead.pid)
    dead.wait()
    remember(tmp_path, dead.pid)
    remember(tmp_path, os.getpid())
    noted = [ServerSession(**s) for s in json.loads((tmp_path / "sessions.json").read_text())]
    assert {s.leader for s in noted} - {dead.pid} == {gone, os.getpid()}
    remember(tmp_path / "missing", os.getpid())
    assert "session_not_noted" in caplog.text
