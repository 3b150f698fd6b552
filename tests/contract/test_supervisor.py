"""The supervisor with its deployer, on real processes and sockets (a fake model server in each child)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.checkpoint import Release, import_checkpoint
from deploy.errors import CheckpointError, DeployerUnavailable, StageError
from deploy.vllm.admin import admin_token
from deploy.vllm.child import ChildCommand, free_port
from deploy.vllm.front import Front
from deploy.vllm.process import Options, VllmProcessDeployer
from deploy.vllm.serve import serve
from deploy.vllm.supervisor import Supervisor
from tests.processes import children_of, cmdline, in_session
from tests.unit.deploy.test_checkpoint import NOW, write_checkpoint

FAKE = Path(__file__).parents[1] / "fake_server.py"


@dataclass
class Site:
    deployer: VllmProcessDeployer
    url: str
    admin: str
    store: Path
    state: Path
    supervisor: Supervisor

    async def ask(self, http: httpx.AsyncClient, **body: object) -> str:
        answer = await http.post(f"{self.url}/v1/chat/completions", json=body)
        answer.raise_for_status()
        return str(answer.json()["system_fingerprint"])


def fake(release: Release, port: int) -> tuple[str, ...]:
    return (sys.executable, str(FAKE), str(port), "m", release.id)


def fake_with_a_worker(release: Release, port: int) -> tuple[str, ...]:
    """As vLLM: the server has processes of its own, which do not end with it."""
    return ("sh", "-c", 'sleep 600 & exec "$@"', "sh", *fake(release, port))


@asynccontextmanager
async def site(
    folder: Path,
    *,
    command: ChildCommand | None = None,
    front: Front | None = None,
    window_seconds: float | None = None,
    hang_seconds: float = 0.0,
) -> AsyncIterator[Site]:
    store, state = folder / "store", folder / "state"
    state.mkdir(exist_ok=True)
    port, admin_port = free_port(), free_port()
    supervisor = Supervisor(
        releases=store, state=state, name="m", start_seconds=20.0, command=command or fake, front=front,
        window_seconds=window_seconds, hang_seconds=hang_seconds,
    )  # fmt: skip
    task = asyncio.create_task(serve(supervisor, state=state, host="127.0.0.1", port=port, admin_port=admin_port))
    options = Options(admin_url=f"http://127.0.0.1:{admin_port}", token_file=state / "admin-token")
    deployer = VllmProcessDeployer(options)
    for _ in range(200):
        try:
            await deployer.state()
            break
        except DeployerUnavailable:
            await asyncio.sleep(0.05)
    try:
        yield Site(
            deployer=deployer, url=f"http://127.0.0.1:{port}", admin=f"http://127.0.0.1:{admin_port}", store=store,
            state=state, supervisor=supervisor,
        )  # fmt: skip
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await task


def release(folder: Path, name: str) -> Release:
    data = name.encode().ljust(8, b"\0")[:8]
    source = folder / f"source-{name}"
    if not source.exists():
        write_checkpoint(source, data=data)
    return import_checkpoint(source, folder / "store", name=name, created_at=NOW)


async def test_stage_promote_roll_back_retire(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        assert (await http.post(f"{s.url}/v1/chat/completions", json={})).status_code == 503
        await s.deployer.promote(a)
        assert await s.ask(http) == a.id
        staged = await s.deployer.stage(b)
        assert staged == await s.deployer.stage(b)
        assert not staged.takes_traffic
        assert await s.ask(http) == a.id
        direct = await http.post(f"{staged.endpoint}/chat/completions", json={})
        assert direct.json()["system_fingerprint"] == b.id
        await s.deployer.promote(b)
        assert await s.ask(http) == b.id
        await s.deployer.promote(a)
        assert await s.ask(http) == a.id
        with pytest.raises(StageError, match="takes traffic"):
            await s.deployer.retire(a.id)
        await s.deployer.retire(b.id)
        await s.deployer.retire("unknown@0")
        assert [u.release for u in (await s.deployer.state()).up] == [a.id]


async def test_no_request_fails_while_releases_change(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        seen: list[str] = []
        stop = asyncio.Event()

        async def user() -> None:
            while not stop.is_set():
                seen.append(await s.ask(http, x_seconds=0.02))

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(user())
            for _ in range(3):
                await s.deployer.promote(b)
                await s.deployer.promote(a)
            await s.deployer.retire(b.id)
            stop.set()
        assert {a.id, b.id} >= set(seen)
        assert seen[-1] == a.id


async def test_streams_pass(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        answer = await http.post(f"{s.url}/v1/chat/completions", json={"stream": True})
        assert answer.text == "data: 1\n\ndata: [DONE]\n\n"
        assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    "path", ["/v1/load_lora_adapter", "/adapters", "/pause", "/collective_rpc", "/metrics", "/v1/../adapters"]
)
async def test_admin_routes_do_not_pass(tmp_path: Path, path: str) -> None:
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        assert (await http.post(s.url + path, json={})).status_code == 404


async def test_the_active_servers_figures_are_shown_beside_the_admin_verbs(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        assert "vllm:num_requests_running" not in (await http.get(f"{s.admin}/metrics")).text
        await s.deployer.promote(a)
        assert "vllm:num_requests_running" in (await http.get(f"{s.admin}/metrics")).text
        assert (await http.get(f"{s.url}/metrics")).status_code == 404


async def test_a_killed_server_comes_back(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        pid = next(p for p in children_of(os.getpid()) if a.id in cmdline(p))
        os.kill(pid, signal.SIGKILL)
        for _ in range(200):
            answer = await http.post(f"{s.url}/v1/chat/completions", json={})
            if answer.status_code == 200 and pid not in children_of(os.getpid()):
                break
            assert answer.status_code in {200, 503}
            await asyncio.sleep(0.05)
        assert await s.ask(http) == a.id


@pytest.mark.parametrize("which", ["a", "b"])
async def test_a_killed_server_leaves_no_worker(tmp_path: Path, which: str) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path, command=fake_with_a_worker) as s:
        await s.deployer.promote(a)
        await s.deployer.stage(b)
        killed = next(p for p in children_of(os.getpid()) if f" {which}@" in cmdline(p))
        assert len(in_session(killed)) == 2
        os.kill(killed, signal.SIGKILL)
        for _ in range(200):
            if not in_session(killed):
                break
            await asyncio.sleep(0.05)
        assert not in_session(killed)


async def test_a_restart_serves_the_same_release(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path) as s:
        await s.deployer.promote(a)
        await s.deployer.promote(b)
    assert not [p for p in children_of(os.getpid()) if str(FAKE) in cmdline(p)]
    async with site(tmp_path) as s:
        for _ in range(200):
            if (await s.deployer.state()).active == b.id:
                break
            await asyncio.sleep(0.05)
        assert (await s.deployer.state()).active == b.id


async def test_the_log_says_why_a_release_does_not_come_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = release(tmp_path, "broken")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "desired.json").write_text(json.dumps({"active": broken.id}))
    async with site(tmp_path):
        for _ in range(200):
            if "restart_failed" in caplog.text:
                break
            await asyncio.sleep(0.05)
    assert f"restart_failed release {broken.id}" in caplog.text
    assert "broken on purpose" in caplog.text


async def test_a_full_or_broken_disk_ends_no_watch(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "logs").write_text("in the way")
    (tmp_path / "state" / "desired.json").write_text(json.dumps({"active": a.id}))
    async with site(tmp_path) as s:
        with pytest.raises(StageError, match="logs"):
            await s.deployer.stage(a)
        (tmp_path / "state" / "logs").unlink()
        for _ in range(200):
            if (await s.deployer.state()).active == a.id:
                break
            await asyncio.sleep(0.05)
        assert (await s.deployer.state()).active == a.id


@pytest.mark.parametrize("left", [b"", b"short", b"\xff" * 50])
def test_a_token_that_was_cut_short_is_made_anew(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "admin-token").write_bytes(left)
    token = admin_token(tmp_path)
    assert len(token) >= 32
    assert admin_token(tmp_path) == token == (tmp_path / "admin-token").read_text()
    assert (tmp_path / "admin-token").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("fault", "words"), [("port", "--port a free one"), ("desired", "desired.json is damaged"), ("state", "/proc/x")]
)
def test_serve_says_in_a_line_why_it_does_not_start(tmp_path: Path, fault: str, words: str) -> None:
    state = Path("/proc/x") if fault == "state" else tmp_path
    if fault == "desired":
        (tmp_path / "desired.json").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if fault == "port" else free_port()
        command = [sys.executable, "-m", "deploy.vllm.serve", "--releases", str(tmp_path), "--state", str(state),
                   "--name", "m", "--port", str(port), "--admin-port", str(free_port())]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


async def test_bad_releases_change_nothing(tmp_path: Path) -> None:
    a, broken, changed = (release(tmp_path, n) for n in ("a", "broken", "changed"))
    async with site(tmp_path) as s:
        await s.deployer.promote(a)
        with pytest.raises(StageError, match="broken on purpose"):
            await s.deployer.promote(broken)
        (changed.path / "config.json").write_text("{}")
        with pytest.raises(CheckpointError, match=r"config\.json"):
            await s.deployer.promote(changed)
        state = await s.deployer.state()
        assert (state.active, len(state.up)) == (a.id, 1)


async def test_a_wrong_token_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        (s.state / "wrong").write_text("x")
        options = s.deployer._options.model_copy(update={"token_file": s.state / "wrong"})
        with pytest.raises(DeployerUnavailable, match="token"):
            await VllmProcessDeployer(options).state()
        with pytest.raises(DeployerUnavailable, match="alignd serve"):
            gone = options.model_copy(update={"token_file": s.state / "gone"})
            await VllmProcessDeployer(gone).state()
        assert (s.state / "admin-token").stat().st_mode & 0o077 == 0
