"""The supervisor beside servers that hang, lie or want a key, behind proxies, and beside another supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from deploy.checkpoint import Release
from deploy.durable import held
from deploy.errors import DeployerUnavailable, StageError
from deploy.record import read_record
from deploy.vllm import child
from deploy.vllm.child import free_port
from tests.contract.test_supervisor import fake, release, site
from tests.processes import children_of, cmdline

_LIAR = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
status, body, key = int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4]
class Liar(BaseHTTPRequestHandler):
    def do_POST(self):
        knows = self.headers.get("Authorization") == f"Bearer {key}"
        self.send_response(200 if knows else status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Liar).serve_forever()
"""


async def test_a_server_that_hangs_is_not_given_the_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_ANSWER_SECONDS", 0.5)
    a, b, c = (release(tmp_path, n) for n in "abc")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(c)
        await s.deployer.promote(b)
        await s.deployer.promote(a)
        hung = next(p for p in children_of(os.getpid()) if f" {b.id}" in cmdline(p))
        os.kill(hung, signal.SIGSTOP)
        with pytest.raises(StageError, match=rf"{b.id}.* is up and gave no token in 0.5 s; retire it"):
            await s.deployer.promote(b)
        assert (await s.ask(http), read_record(s.state / "desired.json").desired) == (a.id, a.id)
        assert (await s.deployer.roll_back()).release == c.id, "a roll-back passes it by"
        os.kill(hung, signal.SIGCONT)
        await s.deployer.promote(b)
        assert await s.ask(http) == b.id


async def test_a_server_that_is_killed_while_it_is_promoted_is_started_again(tmp_path: Path) -> None:
    a, b = (release(tmp_path, n) for n in "ab")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        await s.deployer.stage(b)
        killed = next(p for p in children_of(os.getpid()) if f" {b.id}" in cmdline(p))
        os.kill(killed, signal.SIGSTOP)
        promotion = asyncio.create_task(s.deployer.promote(b))
        await asyncio.sleep(0.5)  # it is asked for its token
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(DeployerUnavailable, match=rf"{b.id}.* does not answer .*; ask again"):
            await promotion
        assert (await s.ask(http), read_record(s.state / "desired.json").desired) == (a.id, a.id)
        await s.deployer.promote(b)
        assert await s.ask(http) == b.id


@pytest.mark.parametrize("body", ["[]", "null", "1", "[" * 100_000])
async def test_a_server_that_answers_nonsense_ends_nothing(tmp_path: Path, body: str) -> None:
    a = release(tmp_path, "a")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "desired.json").write_text(json.dumps({"active": a.id}))
    starts: list[int] = []

    def command(found: Release, port: int) -> tuple[str, ...]:
        starts.append(port)
        return fake(found, port) if len(starts) > 1 else (sys.executable, "-c", _LIAR, str(port), "200", body, "none")

    async with site(tmp_path, command=command) as s:
        end = time.monotonic() + 20
        while (await s.deployer.state()).active != a.id and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert (await s.deployer.state()).active == a.id


async def test_the_key_of_the_servers_is_shown_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = release(tmp_path, "a")
    said = json.dumps({"model": "m", "system_fingerprint": a.id})

    def command(_: Release, port: int) -> tuple[str, ...]:
        return (sys.executable, "-c", _LIAR, str(port), "401", said, "k")

    async with site(tmp_path, command=command) as s:
        began = time.monotonic()
        with pytest.raises(StageError, match="wants an API key; set VLLM_API_KEY"):
            await s.deployer.stage(a)
        assert time.monotonic() - began < 10.0, "it does not wait for a server that will never take it"
        monkeypatch.setenv("VLLM_API_KEY", "k")
        assert (await s.deployer.stage(a)).release == a.id


async def test_servers_on_loopback_are_asked_past_every_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = release(tmp_path, "a")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with site(tmp_path) as s, httpx.AsyncClient(trust_env=False) as http:
        await s.deployer.promote(a)
        assert await s.ask(http) == a.id
        assert "vllm:num_requests_running" in (await http.get(f"{s.admin}/metrics")).text


def test_one_supervisor_alone_has_a_state_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.vllm.serve", "--releases", str(tmp_path), "--state", str(tmp_path),
               "--name", "m", "--port", str(free_port()), "--admin-port", str(free_port())]  # fmt: skip
    with held(tmp_path, alone=True, what="it"):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"state folder {tmp_path} is in use by another process" in done.stderr
    assert not (tmp_path / "admin-token").exists()
