"""A web hook's receiver for tests: keeps what it gets, and answers well or badly, as it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["HANGS", "OK", "Receiver", "Request", "answer", "receiving"]

HANGS = b""
"""Answer nothing, and leave the connection open."""


def answer(status: int, body: str = "", **headers: str) -> bytes:
    """Return an answer as it goes over the wire; a header given here wins."""
    given = {"content-length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
    lines = [f"HTTP/1.1 {status} said", *(f"{k}: {v}" for k, v in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


OK = answer(200, "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Receiver:
    """What came, and what is answered: one after the other, then always ``OK``."""

    url: str = ""
    got: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[bytes] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.got.append(Request(path=first.split(" ")[1], headers=headers, body=body))
                self.arrived.set()
                said = self.answers.pop(0) if self.answers else OK
                if said == HANGS:
                    await reader.read()
                    return
                writer.write(said)
                if said != OK:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Listen on a free port of this host."""
    receiver = Receiver(answers=list(answers))
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"http{'s' if tls else ''}://{'localhost' if tls else '127.0.0.1'}:{port}/hook"
    async with server:
        yield receiver
