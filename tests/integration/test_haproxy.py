"""The front on real HAProxy: switches, drains, is put right after a restart, and never claims what is not so."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from deploy.errors import DeployerUnavailable
from deploy.testing import check_deployer
from deploy.vllm.child import Child
from deploy.vllm.haproxy import HaproxyFront
from tests.contract.test_supervisor import release
from tests.contract.test_supervisor import site as supervised
from tests.haproxy_host import Haproxy, haproxy
from tests.raw_http import Conversation, child_at, exchange, leave, ok, post, upstream

Program = Callable[[str], str]


@dataclass
class Site:
    haproxy: Haproxy
    front: HaproxyFront
    children: list[Child]
    hold: dict[str, asyncio.Event] = field(default_factory=dict)

    async def asked(self, http: httpx.AsyncClient, n: int = 20) -> set[str]:
        """Who answers."""
        url = f"http://127.0.0.1:{self.haproxy.port}/v1/completions"
        return {(await http.post(url, json={})).text for _ in range(n)}


@asynccontextmanager
async def site(program: Program, *, n: int = 3, edit: tuple[str, str] = ("", "")) -> AsyncIterator[Site]:
    """HAProxy, its front, and servers a, b, ... that say their names, once they may."""
    async with AsyncExitStack() as stack:
        h = await stack.enter_async_context(haproxy(program("haproxy"), edit=edit))
        s = Site(haproxy=h, front=HaproxyFront(h.socket), children=[])
        for name in "abcdef"[:n]:
            s.hold[name] = asyncio.Event()
            s.hold[name].set()

            async def say(told: Conversation, name: str = name) -> None:
                await s.hold[name].wait()
                await told.say(ok(name.encode()))

            up = await stack.enter_async_context(upstream(say))
            s.children.append(child_at(up.port, name))
        work = asyncio.create_task(s.front.serve("", 0))
        try:
            yield s
        finally:
            await s.front.aclose()
            await work


def end(child: Child) -> None:
    cast("Any", child.process).returncode = 1


async def test_switches_are_done_when_they_say_so(program: Program) -> None:
    async with site(program, n=6) as s, httpx.AsyncClient() as http:
        answer = await http.post(f"http://127.0.0.1:{s.haproxy.port}/v1/completions", json={})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        for child in [*s.children, *reversed(s.children)] * 2:
            await s.front.switch(child)
            assert s.front.serving is child
            assert await s.asked(http, 5) == {child.release.id[0]}, "kept-alive connections of users included"
        await s.front.switch(None)
        assert s.front.serving is None
        assert (await http.post(f"http://127.0.0.1:{s.haproxy.port}/v1/completions", json={})).status_code == 503


async def test_no_request_fails_or_is_answered_late_by_the_old_server(program: Program) -> None:
    async with site(program) as s, httpx.AsyncClient() as http:
        await s.front.switch(s.children[0])
        stop, seen = asyncio.Event(), []

        async def user() -> None:
            while not stop.is_set():
                at = time.monotonic()
                answer = await http.post(f"http://127.0.0.1:{s.haproxy.port}/v1/completions", json={})
                seen.append((at, answer.status_code, answer.text))

        flips = []
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(user())
            for child in s.children * 8:
                await s.front.switch(child)
                flips.append((time.monotonic(), child.release.id[0]))
                await asyncio.sleep(0.02)
            stop.set()
        assert len(seen) > 100
        assert {status for _, status, _ in seen} == {200}
        for (began, name), (ended, _) in pairwise(flips):
            # One that is sent just before the next switch may reach HAProxy after it.
            answered = {text for at, _, text in seen if began <= at < ended - 0.03}
            assert answered <= {name, "abc"[("abc".index(name) + 1) % 3]}, "never by the one before"


async def test_a_connection_that_outlived_its_release_answers_nobody_else(program: Program) -> None:
    """With two servers in the file, the third release gets an address whose last request is in flight still."""
    async with site(program, edit=("\n    server amber 127.0.0.1:9 disabled", "")) as s, httpx.AsyncClient() as http:
        a, b, c = s.children
        await s.front.switch(a)
        s.hold["a"].clear()
        url = f"http://127.0.0.1:{s.haproxy.port}/v1/completions"
        late = asyncio.create_task(http.post(url, json={}))
        await asyncio.sleep(0.1)
        await s.front.switch(b)
        await s.front.switch(c)
        s.hold["a"].set()
        assert (await late).text == "a"
        assert await s.asked(http) == {"c"}


async def test_a_drain_waits_for_requests_in_flight(program: Program) -> None:
    async with site(program) as s, httpx.AsyncClient() as http:
        a, b, c = s.children
        await s.front.switch(a)
        s.hold["a"].clear()
        first = asyncio.create_task(exchange(s.haproxy.port, post()))
        await asyncio.sleep(0.1)
        await s.front.switch(b)
        await s.front.switch(c)
        drained = asyncio.create_task(s.front.drain(a, seconds=10))
        assert await s.asked(http) == {"c"}
        await asyncio.sleep(0.3)
        assert not drained.done()
        s.hold["a"].set()
        assert (await first).endswith(b"a"), "a request ends where it began"
        await drained
        began = time.monotonic()
        s.hold["c"].clear()
        second = asyncio.create_task(exchange(s.haproxy.port, post()))
        await asyncio.sleep(0.1)
        await s.front.switch(b)
        await s.front.drain(c, seconds=0.3)
        assert 0.3 <= time.monotonic() - began < 3, "it is bounded"
        s.hold["c"].set()
        await second


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
async def test_a_restarted_haproxy_is_put_right_within_a_second(program: Program, sig: signal.Signals) -> None:
    async with site(program) as s, httpx.AsyncClient() as http:
        await s.front.switch(s.children[1])
        s.haproxy.stop(sig)
        await asyncio.sleep(0.6)
        with pytest.raises(DeployerUnavailable, match=r"can't be reached.*start HAProxy"):
            assert s.front.serving
        with pytest.raises(DeployerUnavailable, match="can't be reached"):
            await s.front.switch(s.children[0])
        await s.haproxy.start()
        began = time.monotonic()
        while (await http.post(f"http://127.0.0.1:{s.haproxy.port}/v1/completions", json={})).text != "a":
            assert time.monotonic() < began + 1, "what was asked for last"
            await asyncio.sleep(0.01)
        assert await s.asked(http) == {"a"}
        assert s.front.serving is s.children[0]


async def test_a_restarted_haproxy_serves_what_it_served_before_anybody_looks(program: Program) -> None:
    async with site(program) as s, httpx.AsyncClient() as http:
        for child in (None, *s.children):
            await s.front.switch(child)
            async with s.front._lock:  # nobody looks
                s.haproxy.stop()
                await s.haproxy.start()
                answer = await http.post(f"http://127.0.0.1:{s.haproxy.port}/v1/completions", json={})
                assert answer.status_code == (200 if child else 503)
                assert child is None or answer.text == child.release.id[0]


async def test_what_others_change_is_put_right(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    async with site(program) as s, httpx.AsyncClient() as http:
        a, b, _ = s.children
        await s.front.switch(a)
        for command in (
            f"set server alignd/green addr 127.0.0.1 port {b.port}; set server alignd/green state ready",
            "; ".join(f"set server alignd/{name} state maint" for name in ("blue", "green", "amber")),
            "; ".join(f"set server alignd/{name} weight 0" for name in ("blue", "green", "amber")),
        ):
            await s.front._tell(command)
            await asyncio.sleep(0.6)
            assert await s.asked(http) == {"a"}
        assert "front_put_right" in caplog.text


async def test_a_server_that_died_gets_no_more_requests(program: Program) -> None:
    async with site(program) as s, httpx.AsyncClient() as http:
        await s.front.switch(s.children[0])
        end(s.children[0])
        await asyncio.sleep(0.6)
        assert s.front.serving is None
        assert (await http.post(f"http://127.0.0.1:{s.haproxy.port}/v1/completions", json={})).status_code == 503


async def test_a_socket_without_the_right_to_change_is_named(program: Program) -> None:
    async with site(program, edit=("level admin", "level operator")) as s:
        s.front._change_seconds = 0.3
        with pytest.raises(DeployerUnavailable, match=r"told to send requests to port .* level, which must be admin"):
            await s.front.switch(s.children[0])
        with pytest.raises(DeployerUnavailable):
            assert s.front.serving


async def test_a_file_without_the_backend_is_named(program: Program) -> None:
    async with site(program, edit=("\nbackend alignd", "\nbackend other\nbackend alignd")) as s:
        with pytest.raises(DeployerUnavailable, match=r"backend nobody.*Can't find backend"):
            await HaproxyFront(s.haproxy.socket, backend="nobody").switch(s.children[0])
        with pytest.raises(DeployerUnavailable, match="0 server lines"):
            await HaproxyFront(s.haproxy.socket, backend="other").switch(s.children[0])


LIE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port
1 alignd 1 blue 127.0.0.1 2 0 1 7
1 alignd 2 green 127.0.0.1 0 1 1 8
"""


@pytest.mark.parametrize("kind", ["lying", "silent", "slow", "closing", "gone", "nonsense"])
async def test_no_socket_makes_it_claim_what_is_not_so(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.vllm.haproxy_api._ASK_SECONDS", 0.3)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = (await reader.readline()).decode()
        said = LIE if "state alignd" in told else "# pxname,svname,scur\nalignd,blue,0\n" if "stat" in told else "\n"
        if kind in {"silent", "slow"}:
            await reader.read(1)
        elif kind != "closing":
            writer.write(b"\x00\xff nonsense" if kind == "nonsense" else said.encode())
        await leave(writer)

    front, child = HaproxyFront(tmp_path / "s", change_seconds=0.3), child_at(1)
    async with AsyncExitStack() as stack:
        if kind != "gone":
            await stack.enter_async_context(await asyncio.start_unix_server(connected, tmp_path / "s"))
        with pytest.raises(DeployerUnavailable) as refusal:
            await front.switch(child)
        assert str(tmp_path / "s") in str(refusal.value)
        with pytest.raises(DeployerUnavailable):
            assert front.serving
        await front.drain(child, seconds=0.3)
        await front.aclose()


async def test_the_deployer_keeps_its_port_behind_haproxy(tmp_path: Path, program: Program) -> None:
    first, second, changed = (release(tmp_path, n) for n in ("first", "second", "changed"))
    (changed.path / "config.json").write_text("{}")
    async with haproxy(program("haproxy")) as h, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{h.port}/v1/completions"

        async def answers() -> str:
            return str((await http.post(url, json={})).json()["system_fingerprint"])

        async with supervised(tmp_path, front=HaproxyFront(h.socket)) as s:
            await check_deployer(s.deployer, first, second, changed=changed)
            assert (await answers(), (await s.deployer.state()).active) == (first.id, first.id)
            h.stop()
            await asyncio.sleep(0.6)
            with pytest.raises(DeployerUnavailable, match="start HAProxy"):
                await s.deployer.state()
            with pytest.raises(DeployerUnavailable, match="start HAProxy"):
                await s.deployer.promote(second)
            await h.start()
            await asyncio.sleep(0.8)
            assert (await s.deployer.state()).active == first.id, "a promotion that failed is not done later"
            assert await answers() == first.id
            assert (await s.deployer.promote(second)).takes_traffic
            assert await answers() == second.id
        gone = await http.post(url, json={})
        assert (gone.status_code, gone.headers["retry-after"]) == (503, "1"), "HAProxy outlives the supervisor"
