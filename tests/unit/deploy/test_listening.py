"""Heads of requests that are slow or endless are not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.vllm.child import free_port
from deploy.vllm.listening import HEAD_BYTES_MAX, listen, quiet_server
from deploy.vllm.relay import RelayFront
from tests.raw_http import exchange, leave, post


@asynccontextmanager
async def serving(head_seconds: float) -> AsyncIterator[int]:
    port = free_port()
    server = quiet_server(RelayFront(), head_seconds=head_seconds)
    work = asyncio.create_task(server._serve(sockets=[listen("127.0.0.1", port, "--port")]))
    try:
        yield port
    finally:
        server.should_exit = True
        await work


async def test_a_slow_head_ends_at_any_request_of_a_connection() -> None:
    async with serving(0.3) as port:
        assert await exchange(port, b"", seconds=3) == b""
        assert await exchange(port, b"GET /health HTT", seconds=3) == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /health HTT")
        async with asyncio.timeout(3):
            await reader.read()
        await leave(writer)


async def test_an_endless_head_ends() -> None:
    async with serving(30.0) as port:
        head = b"GET /health HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % i for i in range(HEAD_BYTES_MAX // 4))
        said = await exchange(port, head, seconds=5)
        assert said == b"" or said.startswith(b"HTTP/1.1 400 ")


async def test_a_head_in_time_is_answered_and_its_connection_stays() -> None:
    async with serving(0.5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            for part in (b"POST /v1/completions HTTP/1.1\r\n", b"Host: x\r\nContent-", b"Length: 2\r\n\r\n{", b"}"):
                writer.write(part)
                await asyncio.sleep(0.05)
            assert b" 503 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
            await reader.readuntil(b"}}")
        await leave(writer)
