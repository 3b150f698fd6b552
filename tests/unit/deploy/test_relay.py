"""The relaying front on real sockets: what passes, what does not, and what becomes of clients that go away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from deploy.errors import StageError
from deploy.vllm.child import Child, free_port
from deploy.vllm.front import ALLOWED, BODY_BYTES_MAX
from deploy.vllm.relay import RelayFront
from tests.raw_http import Conversation, child_at, exchange, leave, ok, post, upstream


@dataclass
class Site:
    front: RelayFront
    child: Child
    port: int

    async def idle(self) -> None:
        async with asyncio.timeout(5):
            while self.child.in_flight:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def site(upstream_port: int, *, front: RelayFront | None = None) -> AsyncIterator[Site]:
    front, child, port = front or RelayFront(), child_at(upstream_port), free_port()
    task = asyncio.create_task(front.serve("127.0.0.1", port))
    await front.switch(child)
    try:
        async with asyncio.timeout(5):
            while not task.done():
                try:
                    await leave((await asyncio.open_connection("127.0.0.1", port))[1])
                    break
                except ConnectionError:
                    await asyncio.sleep(0.01)
        yield Site(front=front, child=child, port=port)
    finally:
        await front.aclose()
        await task


async def fine(told: Conversation) -> None:
    await told.say(ok(b'{"a": 1}'))


async def test_an_answer_passes_as_it_is() -> None:
    async def answer(told: Conversation) -> None:
        await told.say(ok(b"whole", b"x-twice: 1", b"x-twice: 2", b"connection: x-hop", b"x-hop: 1", b"x-other: 3"))

    async with upstream(answer) as up, site(up.port) as s:
        said = await exchange(s.port, post("/v1/completions?a=%20b", b'{"x": 1}', "X-Own: 1", "Connection: x-secret",
                                           "X-Secret: 1", "Authorization: Bearer k"))  # fmt: skip
    head, _, body = said.lower().partition(b"\r\n\r\n")
    assert body == b"whole"
    assert (head.count(b"x-twice:"), b"x-other: 3" in head, b"x-hop" in head) == (2, True, False)
    (asked,) = (h.lower() for h in up.heads)
    assert asked.startswith(b"post /v1/completions?a=%20b http/1.1\r\n")
    assert b"x-own: 1" in asked
    assert b"authorization: bearer k" in asked
    assert b"x-secret" not in asked
    assert up.bodies == [b'{"x": 1}']


async def test_a_stream_passes_part_by_part() -> None:
    read = asyncio.Event()

    async def answer(told: Conversation) -> None:
        await told.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await told.say(b"7\r\ndata: 1\r\n")
        await asyncio.wait_for(read.wait(), 5)
        await told.say(b"7\r\ndata: 2\r\n0\r\n\r\n")

    async with upstream(answer) as up, site(up.port) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(post())
        assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"data: 1\r\n")
        assert s.child.in_flight == 1
        read.set()
        await reader.readuntil(b"data: 2\r\n0\r\n\r\n")
        await leave(writer)
        await s.idle()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_goes_away_takes_its_request_with_it(*, begun: bool) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def answer(told: Conversation) -> None:
        if begun:
            await told.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        asked.set()
        await told.until_closed()
        closed.set()

    async with upstream(answer) as up, site(up.port) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(post())
        await asyncio.wait_for(asked.wait(), 5)
        if begun:
            await reader.readuntil(b"x\r\n")
        assert s.child.in_flight == 1
        writer.close()
        await asyncio.wait_for(closed.wait(), 5)
        await s.idle()


async def test_an_answer_that_breaks_off_is_not_made_to_look_whole() -> None:
    async def answer(told: Conversation) -> None:
        await told.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        told.writer.close()

    async with upstream(answer) as up, site(up.port) as s:
        said = await exchange(s.port, post())
        await s.idle()
    assert said.endswith(b"1\r\nx\r\n")
    assert len(up.heads) == 1, "what was answered in part is not asked again"


async def test_a_client_that_does_not_read_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(told: Conversation) -> None:
        await told.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await told.say(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    async with upstream(answer) as up, site(up.port, front=RelayFront(stall_seconds=0.2)) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(post())
        await reader.readuntil(b"\r\n\r\n")
        await s.idle()
        await leave(writer)
    assert "client_stalled" in caplog.text


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_has_a_limit(*, chunked: bool) -> None:
    size = BODY_BYTES_MAX + 1
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()
    body = b"%x\r\n%b\r\n" % (size, b"x" * size) if chunked else b""
    async with upstream(fine) as up, site(up.port) as s:
        assert (await exchange(s.port, head + body)).startswith(b"HTTP/1.1 413 ")
    assert not up.heads


async def test_a_slow_body_is_not_waited_for() -> None:
    async with upstream(fine) as up, site(up.port, front=RelayFront(body_seconds=0.2)) as s:
        said = await exchange(s.port, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert not up.heads


HOSTILE = (
    "/adapters", "/invocations", "/metrics", "/v1/load_lora_adapter", "/v1/alignd/state", "/collective_rpc", "/pause",
    "//v1/completions", "/v1//completions", "/V1/Completions", "/v1/completions/", "/v1/completions/../../adapters",
    "/v1/%2e%2e/adapters", "/v1/completions%2f..%2f..%2fadapters", "/v1/%63ompletions", "/v1/completions;/../adapters",
    "/v1/completions%00", "/v1/completions/render", "\\v1\\completions", "http://x/adapters", "http://x//v1/completions",
)  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
async def test_what_is_no_users_route_is_refused_and_counted(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with upstream(fine) as up, site(up.port) as s:
        said = await exchange(s.port, post(path))
        counted = s.front.refused["route"]
    assert said.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    if said.startswith(b"HTTP/1.1 404 "):
        assert counted == 1
        assert "route_refused POST" in caplog.text
    assert not up.heads


async def test_each_route_has_its_method() -> None:
    async with upstream(fine) as up, site(up.port) as s:
        for path, method in ALLOWED.items():
            for asked in ("GET", "POST", "DELETE", "PUT", "OPTIONS"):
                head = f"{asked} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                said = await exchange(s.port, head.encode())
                assert said.startswith(b"HTTP/1.1 200 " if asked == method else b"HTTP/1.1 405 "), (asked, path)
    assert up.paths == list(ALLOWED)


SMUGGLED = b"GET /adapters HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 0\r\nTransfer-Encoding: chunked", "Content-Length: 5\r\nContent-Length: 50",
        "Transfer-Encoding: xchunked", "Transfer-Encoding : chunked", "Content-Length: +5", "Content-Length: 5 5",
        "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity\r\nContent-Length: 0", "X: \0",
    ],
)  # fmt: skip
async def test_no_second_request_is_smuggled_in(framing: str) -> None:
    async with upstream(fine) as up, site(up.port) as s:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()
        await exchange(s.port, head + b"0\r\n\r\n" + SMUGGLED, seconds=0.5)
    assert set(up.paths) <= {"/v1/completions"}
    assert all(b.lower().count(b"content-length") <= 1 and b"transfer-encoding" not in b.lower() for b in up.heads)


async def test_a_web_socket_is_not_opened() -> None:
    async with upstream(fine) as up, site(up.port) as s:
        said = await exchange(
            s.port, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
        )  # fmt: skip
    assert b" 101 " not in said
    assert all(b"upgrade" not in h.lower() for h in up.heads)


async def test_without_a_release_users_are_told_to_come_back() -> None:
    async with upstream(fine) as up, site(up.port) as s:
        await s.front.switch(None)
        said = await exchange(s.port, post())
        assert s.front.serving is None
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in said.lower()
    assert b"no release can answer now" in said


async def test_users_are_told_why_nobody_answers() -> None:
    async with upstream(fine) as up, site(up.port) as s:
        await s.front.switch(None, why="out of service: incident i")
        said = await exchange(s.port, post())
    assert (said[:13], b"out of service: incident i" in said) == (b"HTTP/1.1 503 ", True)


async def test_a_server_that_is_gone_and_one_that_breaks_http_are_told_apart() -> None:
    async def nonsense(told: Conversation) -> None:
        await told.say(b"nonsense\r\n\r\n")

    async with site(free_port()) as s:
        assert (await exchange(s.port, post())).startswith(b"HTTP/1.1 503 ")
        await s.idle()
    async with upstream(nonsense) as up, site(up.port) as s:
        assert (await exchange(s.port, post())).startswith(b"HTTP/1.1 502 ")
        await s.idle()


async def test_a_silent_server_is_given_up() -> None:
    async with upstream(Conversation.until_closed) as up, site(up.port, front=RelayFront(answer_seconds=0.2)) as s:
        assert (await exchange(s.port, post())).startswith(b"HTTP/1.1 504 ")
        await s.idle()
    assert len(up.heads) == 1, "it may be at work on it: it isn't asked again"


async def test_a_request_whose_server_closed_the_connection_goes_to_the_next() -> None:
    async def close(told: Conversation) -> None:
        switch()
        told.writer.close()

    async with upstream(close) as gone, upstream(fine) as up, site(gone.port) as s:
        other = child_at(up.port, "b")

        def switch() -> None:
            s.front._child = other

        assert (await exchange(s.port, post())).startswith(b"HTTP/1.1 200 ")
        await s.idle()
        assert other.in_flight == 0


async def test_a_switch_leaves_requests_where_they_began() -> None:
    go = asyncio.Event()

    async def slow(told: Conversation) -> None:
        await go.wait()
        await told.say(ok(b"old"))

    async with upstream(slow) as old, upstream(fine) as new, site(old.port) as s:
        first = asyncio.create_task(exchange(s.port, post()))
        while not s.child.in_flight:
            await asyncio.sleep(0.01)
        await s.front.switch(child_at(new.port, "b"))
        drained = asyncio.create_task(s.front.drain(s.child, seconds=5))
        assert b'{"a": 1}' in await exchange(s.port, post())
        assert not drained.done()
        go.set()
        assert b"old" in await first
        await drained
    assert (len(old.heads), len(new.heads)) == (1, 1)


async def test_a_taken_port_is_named() -> None:
    async with upstream(fine) as up:
        with pytest.raises(StageError, match=f"{up.port} can't be taken.*--port"):
            await RelayFront().serve("127.0.0.1", up.port)


