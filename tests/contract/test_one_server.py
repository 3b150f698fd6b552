"""A supervisor with memory for one server: a maintenance answer, and the old release back where the new one fails."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import httpx
import pytest

from deploy.checkpoint import Release
from deploy.errors import CheckpointError, Fenced, StageError
from deploy.vllm.supervisor import Supervisor
from tests.contract.test_supervisor import FAKE, Site, fake, release, site
from tests.processes import children_of, cmdline


def servers() -> int:
    return len([p for p in children_of(os.getpid()) if str(FAKE) in cmdline(p)])


async def active(s: Site, release_id: str) -> None:
    async with asyncio.timeout(60):
        while (await s.deployer.state()).active != release_id:
            await asyncio.sleep(0.05)


async def test_one_server_at_a_time_and_the_old_one_returns(tmp_path: Path) -> None:
    a, b, broken = (release(tmp_path, n) for n in ("a", "b", "broken"))
    async with site(tmp_path, window_seconds=600.0) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        assert await s.ask(http) == a.id
        long = asyncio.create_task(s.ask(http, x_seconds=0.5))
        await asyncio.sleep(0.2)
        change = asyncio.create_task(s.deployer.promote(b))
        seen = []
        while not change.done():
            answer = await http.post(f"{s.url}/v1/chat/completions", json={})
            seen.append((answer.status_code, answer.headers.get("retry-after")))
            assert servers() <= 1
            await asyncio.sleep(0.05)
        assert set(seen) <= {(200, None), (503, "1")}
        assert (503, "1") in seen
        assert await long == a.id, "requests in flight end where they began"
        assert (await change).takes_traffic
        assert await s.ask(http) == b.id
        with pytest.raises(StageError, match="broken on purpose"):
            await s.deployer.promote(broken)
        await active(s, b.id)
        assert await s.ask(http) == b.id
        assert servers() == 1


async def test_a_staged_release_has_the_place_until_it_is_retired_or_the_window_ends(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path, window_seconds=600.0) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(a)
        staged = await s.deployer.stage(b)
        await asyncio.sleep(1.0)
        assert not staged.takes_traffic
        assert (await s.deployer.state()).active == ""
        assert (await http.post(f"{s.url}/v1/chat/completions", json={})).status_code == 503
        direct = await http.post(f"{staged.endpoint}/chat/completions", json={})
        assert direct.json()["system_fingerprint"] == b.id
        await s.deployer.retire(b.id)
        await active(s, a.id)
        assert [u.release for u in (await s.deployer.state()).up] == [a.id]


async def test_a_window_ends_by_itself(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path, window_seconds=0.5) as s:
        await s.deployer.promote(a)
        await s.deployer.stage(b)
        await active(s, a.id)
        assert servers() == 1


async def test_nothing_is_stopped_where_the_files_are_wrong(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    supervisor = Supervisor(releases=tmp_path / "store", state=tmp_path, name="m", command=fake, window_seconds=1.0)
    await supervisor.promote(a.id, 0)
    before = servers()
    with pytest.raises(CheckpointError, match="not in"):
        await supervisor.promote("unknown@0", 0)
    assert (servers(), supervisor.state()["active"]) == (before, a.id)
    await supervisor.aclose()


async def test_who_was_overtaken_while_waiting_stops_nobodys_server(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    looks, go_on = threading.Event(), threading.Event()

    def verify(found: Release) -> None:
        if found.id == b.id:
            looks.set()
            go_on.wait(20)

    supervisor = Supervisor(
        releases=tmp_path / "store", state=tmp_path, name="m", command=fake, window_seconds=1.0, verify=verify
    )
    await supervisor.promote(a.id, 0)
    before = servers()
    waiting = [asyncio.create_task(supervisor.stage(b.id, 0)) for _ in range(2)]
    await asyncio.to_thread(looks.wait, 20)
    supervisor.claim("another")
    go_on.set()
    for stage in waiting:
        with pytest.raises(Fenced, match="holder another took over"):
            await stage
    assert (servers(), supervisor.state()["active"]) == (before, a.id)
    await supervisor.aclose()
