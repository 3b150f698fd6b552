"""A server that is killed leaves no shared memory behind: who frees it is spared until the rest has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.vllm import child, left_over
from deploy.vllm.left_over import ServerSession, end_left_over
from deploy.vllm.session import kill, processes, without_trackers
from tests.processes import in_session

SERVER = """
import multiprocessing, signal, sys, time
from multiprocessing.shared_memory import SharedMemory

signal.signal(signal.SIGTERM, signal.SIG_IGN)

if __name__ == "__main__":
    memory = SharedMemory(create=True, size=4096)
    engine = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(100,))
    engine.start()
    print(memory.name, flush=True)
    time.sleep(100)
"""


async def server(folder: Path) -> tuple[asyncio.subprocess.Process, Path]:
    """A server with an engine of its own and shared memory, both deaf to SIGTERM."""
    (folder / "server.py").write_text(SERVER)
    said = folder / "said"
    with said.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(folder / "server.py"), stdout=out, start_new_session=True
        )
    while not (name := said.read_text().strip()):
        await asyncio.sleep(0.01)
    memory = Path("/dev/shm", name)
    assert memory.is_file()
    while len(without_trackers(in_session(process.pid))) < 2:
        await asyncio.sleep(0.01)
    return process, memory


async def test_a_server_that_does_not_end_frees_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "DRAINED_SECONDS", 0.5)
    process, memory = await server(tmp_path)
    assert len(in_session(process.pid)) == len(without_trackers(in_session(process.pid))) + 1
    await child._end(process)
    assert process.returncode == -signal.SIGKILL
    assert not in_session(process.pid)
    assert not memory.exists()


async def test_a_server_whose_supervisor_was_killed_frees_its_memory(tmp_path: Path) -> None:
    process, memory = await server(tmp_path)
    (leader,) = (p for p in processes() if p.pid == process.pid)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert memory.is_file(), "the engine holds on to it"
    await end_left_over([
        ServerSession(leader=leader.pid, started=leader.started, supervisor=0, supervisor_started=0, boot="")
    ])
    assert not in_session(process.pid)
    assert not memory.exists()


async def test_a_tracker_that_hangs_is_ended_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_over, "DRAINED_SECONDS", 0.0)
    monkeypatch.setattr(left_over, "_FREE_SECONDS", 1.0)
    process, memory = await server(tmp_path)
    (leader,) = (p for p in processes() if p.pid == process.pid)
    (tracker,) = set(in_session(process.pid)) - set(without_trackers(in_session(process.pid)))
    os.kill(tracker, signal.SIGSTOP)
    kill([process.pid])
    await process.wait()
    await end_left_over([
        ServerSession(leader=leader.pid, started=leader.started, supervisor=0, supervisor_started=0, boot="")
    ])
    assert not in_session(process.pid)
    memory.unlink()
    kill([process.pid])


WITHOUT_AN_INIT = """
import asyncio, ctypes, sys, time
from deploy.vllm import child

ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans are this process's, which waits for none of them

async def main():
    server = await asyncio.create_subprocess_exec("sh", "-c", "sleep 100 & wait", start_new_session=True)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await child._end(server)
    print(time.monotonic() - began)

asyncio.run(main())
"""


def test_the_dead_that_nobody_waits_for_are_not_waited_for() -> None:
    ended = subprocess.run([sys.executable, "-c", WITHOUT_AN_INIT], capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 5, "a container without an init keeps its orphans' bodies"
