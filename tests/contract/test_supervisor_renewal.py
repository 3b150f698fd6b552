"""A server that is replaced by a new process of the same release: users lose nothing, and a failure changes nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from deploy.checkpoint import Release
from deploy.errors import CheckpointError, Fenced, StageError
from deploy.vllm.haproxy import HaproxyFront
from deploy.vllm.process import VllmProcessDeployer
from tests.contract.test_supervisor import FAKE, fake, release, site
from tests.processes import children_of, cmdline


def servers(of: Release) -> list[int]:
    return [p for p in children_of(os.getpid()) if f" {of.id}" in cmdline(p) and str(FAKE) in cmdline(p)]


class Users:
    """Ask without a pause; what they saw."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(4)]
        self.seen: list[tuple[int, str]] = []

    async def _ask(self) -> None:
        async with httpx.AsyncClient() as http:
            while not self._stop.is_set():
                answer = await http.post(self._url, json={"x_seconds": 0.02})
                self.seen.append((answer.status_code, str(answer.json().get("system_fingerprint"))))

    async def leave(self) -> set[tuple[int, str]]:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return set(self.seen)


async def test_a_new_process_takes_over_and_no_request_fails(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path) as s, httpx.AsyncClient() as http:
        await s.deployer.promote(b)
        before = await s.deployer.promote(a)
        (old,) = servers(a)
        users = Users(s.url)
        long = asyncio.create_task(s.ask(http, x_seconds=3.0))
        await asyncio.sleep(0.1)
        renewal = asyncio.create_task(s.deployer.renew(a))
        await asyncio.sleep(0.1)
        assert (await s.deployer.state()).find(a.id) == before, "the old one serves until the new one can"
        now = await renewal
        assert long.done(), "the old one ends what it has"
        assert await long == a.id
        assert await users.leave() == {(200, a.id)}
        assert now.takes_traffic
        assert now.endpoint != before.endpoint
        assert old not in servers(a)
        state = await s.deployer.state()
        assert {u.release for u in state.up} == {a.id, b.id}
        record = await s.deployer.record()
        assert (record.desired, len(record.history)) == (a.id, 2), "it is no promotion"
        page = (await http.get(f"{s.admin}/metrics")).text
        assert 'alignd_supervisor_renewals_total{reason="asked"} 1' in page


async def test_who_asks_again_meanwhile_gets_the_same_server(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    async with site(tmp_path) as s:
        await s.deployer.promote(a)
        first, second = await asyncio.gather(s.deployer.renew(a), s.deployer.renew(a))
        assert first == second
        assert len(servers(a)) == 1
        assert (await s.deployer.renew(a)).endpoint != first.endpoint


async def test_what_can_not_be_renewed_goes_on_as_it_was(tmp_path: Path) -> None:
    a, b = release(tmp_path, "a"), release(tmp_path, "b")
    fails: list[bool] = []

    def command(found: Release, port: int) -> Sequence[str]:
        return (sys.executable, "-c", "raise SystemExit('ValueError: no memory')") if fails else fake(found, port)

    async with site(tmp_path, command=command) as s, httpx.AsyncClient() as http:
        before = await s.deployer.promote(a)
        await s.deployer.stage(b)
        with pytest.raises(StageError, match=f"{b.id} takes no traffic; retire it"):
            await s.deployer.renew(b)
        fails.append(True)
        with pytest.raises(StageError, match="no memory"):
            await s.deployer.renew(a)
        (a.path / "config.json").write_text("{}")
        with pytest.raises(CheckpointError, match=r"config\.json"):
            await s.deployer.renew(a)
        await VllmProcessDeployer(s.deployer._options).retire(b.id)
        with pytest.raises(Fenced):
            await s.deployer.renew(a)
        assert (await s.deployer.state()).find(a.id) == before
        assert await s.ask(http) == a.id


async def test_a_front_that_does_not_follow_keeps_the_old_server(tmp_path: Path) -> None:
    """What is no HAProxy refuses every change: the new server is stopped, the old one is known still."""
    a = release(tmp_path, "a")
    async with site(tmp_path) as s:
        before = await s.deployer.promote(a)
        (old,) = servers(a)
        supervisor = s.supervisor
        relay, away = supervisor._traffic.front, HaproxyFront(tmp_path / "gone")
        supervisor._traffic.front = away
        with pytest.raises(Exception, match="can't be reached"):
            await s.deployer.renew(a)
        supervisor._traffic.front = relay
        assert servers(a) == [old]
        assert (await s.deployer.state()).find(a.id) == before


async def test_with_memory_for_one_server_the_new_one_comes_after_the_old_one(tmp_path: Path) -> None:
    a = release(tmp_path, "a")
    async with site(tmp_path, window_seconds=600.0) as s, httpx.AsyncClient() as http:
        before = await s.deployer.promote(a)
        renewal = asyncio.create_task(s.deployer.renew(a))
        while not renewal.done():
            assert len(servers(a)) <= 1
            await asyncio.sleep(0.05)
        assert (await renewal).endpoint != before.endpoint
        assert await s.ask(http) == a.id
