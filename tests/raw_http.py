"""HTTP by hand, for tests of fronts: a server that does what it is told, and requests as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from deploy.checkpoint import Release
from deploy.vllm.child import Child

__all__ = ["Conversation", "Upstream", "child_at", "exchange", "leave", "ok", "post", "read_request", "upstream"]

Behavior = Callable[["Conversation"], Awaitable[None]]


def ok(body: bytes = b"{}", *headers: bytes) -> bytes:
    """A whole answer."""
    head = b"".join(h + b"\r\n" for h in headers)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), head, body)


def post(path: str = "/v1/completions", body: bytes = b"{}", *headers: str) -> bytes:
    """A whole request."""
    head = "".join(f"{h}\r\n" for h in ("Host: x", f"Content-Length: {len(body)}", *headers))
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass
class Conversation:
    """One connection of a server, after its first request was read."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_closed(self) -> None:
        with suppress(ConnectionError):
            while await self.reader.read(1024):
                pass


@dataclass
class Upstream:
    """What a server saw."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [h.split(b" ")[1].decode() for h in self.heads]


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body; a body in chunks is left in its chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


@asynccontextmanager
async def upstream(behave: Behavior) -> AsyncIterator[Upstream]:
    """Run a server in this loop; each connection is told what to do after each request that was read."""
    seen = Upstream(port=0)
    running: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        try:
            while True:
                head, body = await read_request(reader)
                seen.heads.append(head)
                seen.bodies.append(body)
                await behave(Conversation(head=head, body=body, reader=reader, writer=writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            running.discard(task)
            await leave(writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running)


async def exchange(port: int, request: bytes, *, seconds: float = 10.0) -> bytes:
    """Send bytes, and return all that comes back until the other side closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    try:
        writer.write(request)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(seconds):
                while part := await reader.read(65536):
                    said += part
                    if _whole(said):
                        break
    finally:
        await leave(writer)
    return said


async def leave(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and see it closed."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _whole(said: bytes) -> bool:
    head, end, body = said.partition(b"\r\n\r\n")
    lengths = [h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")]
    return bool(end and lengths) and len(body) >= int(lengths[0][15:])


def child_at(port: int, name: str = "a") -> Child:
    """A server of the supervisor, whose process never ends."""
    release = Release(id=f"{name}@0", path=Path(), manifest=cast("Any", None))
    return Child(release=release, port=port, process=cast("Any", SimpleNamespace(returncode=None)), log=Path())
