"""A server that hangs after it took the traffic is replaced; one that is slow is not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from deploy.checkpoint import Release
from deploy.vllm import child
from deploy.vllm.child import free_port
from tests.contract.test_supervisor import Site, fake, release, site
from tests.contract.test_supervisor_renewal import servers

_BUSY = """
import itertools, json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
port, name, release, works = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "works"
asked, made = itertools.count(), itertools.count()
class Busy(BaseHTTPRequestHandler):
    def say(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        if next(asked):
            time.sleep(60)
        self.say(json.dumps({"model": name, "system_fingerprint": release}).encode())
    def do_GET(self):
        self.say(b"vllm:generation_tokens_total %d" % (next(made) if works else 0))
    def log_message(self, *_): pass
ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", port), Busy).serve_forever()
"""


async def renewed(s: Site, http: httpx.AsyncClient) -> int:
    page = (await http.get(f"{s.admin}/metrics")).text
    return int(page.partition('alignd_supervisor_renewals_total{reason="hung"} ')[2].split("\n")[0])


async def has_left(s: Site, of: Release, pid: int) -> None:
    async with asyncio.timeout(20):
        while (await s.deployer.state()).active != of.id or pid in servers(of) or not servers(of):
            await asyncio.sleep(0.05)


async def test_a_server_that_hangs_is_replaced_beside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = release(tmp_path, "a")
    async with site(tmp_path, hang_seconds=0.9) as s, httpx.AsyncClient() as http:
        before = await s.deployer.promote(a)
        (hung,) = servers(a)
        await asyncio.sleep(1.5)
        assert servers(a) == [hung], "one that answers is left alone"
        os.kill(hung, signal.SIGSTOP)
        async with asyncio.timeout(20):
            while (await s.deployer.state()).find(a.id) == before:
                await asyncio.sleep(0.02)
        assert await s.ask(http) == a.id, "users are served while the old one is there still"
        assert hung in servers(a)
        os.kill(hung, signal.SIGCONT)
        await has_left(s, a, hung)
        assert await s.ask(http) == a.id
        assert await renewed(s, http) == 1
    assert f"hung release {a.id}" in caplog.text


@pytest.mark.parametrize(("works", "n"), [("works", 0), ("hangs", 1)])
async def test_a_busy_server_is_left_alone_as_long_as_it_makes_tokens(tmp_path: Path, works: str, n: int) -> None:
    a = release(tmp_path, "a")
    starts: list[int] = []

    def command(found: Release, port: int) -> Sequence[str]:
        starts.append(port)
        if len(starts) > 1:
            return fake(found, port)
        return (sys.executable, "-c", _BUSY, str(port), "m", found.id, works)

    async with site(tmp_path, command=command, hang_seconds=0.6) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        end = asyncio.get_running_loop().time() + (4.0 if works == "works" else 15.0)
        while asyncio.get_running_loop().time() < end and (n == 0 or len(starts) == 1):
            await asyncio.sleep(0.05)
        async with asyncio.timeout(15):
            while await renewed(s, http) != n:
                await asyncio.sleep(0.05)
        assert len(starts) == 1 + n


async def test_where_no_second_one_comes_up_the_hung_one_makes_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = release(tmp_path, "a")

    def command(found: Release, port: int) -> Sequence[str]:
        if servers(a):
            return (sys.executable, "-c", "raise SystemExit('ValueError: no memory')")
        return fake(found, port)

    async with site(tmp_path, command=command, hang_seconds=0.6) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        (hung,) = servers(a)
        os.kill(hung, signal.SIGSTOP)
        async with asyncio.timeout(20):
            while "not_renewed" not in caplog.text:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.4)  # the last look; then it is told to end
        os.kill(hung, signal.SIGCONT)
        await has_left(s, a, hung)
        assert await s.ask(http) == a.id


@pytest.mark.parametrize("seconds", ["5", "-1", "nan"])
def test_no_patience_is_refused(tmp_path: Path, seconds: str) -> None:
    command = [sys.executable, "-m", "deploy.vllm.serve", "--releases", str(tmp_path), "--state", str(tmp_path),
               "--name", "m", "--hang-seconds", seconds, "--admin-port", str(free_port())]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "give 0 or 30 up" in done.stderr
    assert child._ANSWER_SECONDS < 30, "a change does not wait as long"
