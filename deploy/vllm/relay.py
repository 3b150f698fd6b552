"""The front inside the supervisor: a streaming reverse proxy. Switching is one assignment."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import aiohttp
import uvicorn
from yarl import URL

from deploy.vllm.child import Child
from deploy.vllm.counts import Counts
from deploy.vllm.front import ALLOWED, BODY_BYTES_MAX, RETRY_AFTER_SECONDS
from deploy.vllm.listening import listen, quiet_server

__all__ = ["RelayFront"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger("alignd.front")

_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"host", b"content-length", b"expect",
}  # fmt: skip
_PATHS = {path.encode(): method for path, method in ALLOWED.items()}
_STATUS = {
    "route": 404, "method": 405, "slow_body": 408, "body_size": 413, "server_broken": 502, "no_release": 503,
    "server_silent": 504,
}  # fmt: skip
"""Why a request is answered here, as the counter names it, and how."""
_TRIES = 2
_LOGGED_PATH_CHARACTERS = 80


class _Gone(Exception):
    """The client went away, or reads or writes too slowly to be waited for."""


class _Refused(Exception):
    """The request is answered here."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = _STATUS[reason]


class RelayFront:
    """Forwards to the server that it was switched to last, while it runs."""

    def __init__(
        self, *, body_seconds: float = 30.0, stall_seconds: float = 60.0, answer_seconds: float = 600.0
    ) -> None:
        """Take the bounds.

        Args:
            body_seconds: How long a client may take to send a request's body.
            stall_seconds: How long a client may take to read one part of an answer.
            answer_seconds: How long a server may be silent.
        """
        self._child: Child | None = None
        self._why = ""
        self._body_seconds = body_seconds
        self._stall_seconds = stall_seconds
        self._answer_seconds = answer_seconds
        self._session: aiohttp.ClientSession | None = None
        self._server: uvicorn.Server | None = None
        self._over = asyncio.Event()
        self.refused = Counts(_STATUS)

    @property
    def serving(self) -> Child | None:
        """The server that new requests reach."""
        return self._child if self._child and self._child.running else None

    async def switch(self, child: Child | None, *, why: str = "") -> None:
        """Send all new requests to this server; where there is none, say why."""
        self._child, self._why = child, why

    async def drain(self, child: Child, *, seconds: float) -> None:
        """Wait until no request is in flight there, it is gone, or the time is over."""
        end = time.monotonic() + seconds
        while child.in_flight and child.running:
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.05)

    async def serve(self, host: str, port: int) -> None:
        """Listen until ``aclose``.

        Raises:
            StageError: The port is taken.
        """
        listener = listen(host, port, "--port")
        self._server = quiet_server(self)
        try:
            await self._server._serve(sockets=[listener])
        finally:
            self._over.set()

    async def aclose(self) -> None:
        """Take no more requests, let those in flight end (bounded), and close connections to the servers."""
        if self._server:
            self._server.should_exit = True
            await self._over.wait()
        if self._session:
            await self._session.close()
            await asyncio.sleep(0)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        try:
            self._require_allowed(scope)
            await self._forward(scope, receive, send)
        except _Refused as refusal:
            self.refused.add(refusal.reason)
            await _answer(send, refusal.status, str(refusal))
        except _Gone:
            return

    def _require_allowed(self, scope: Message) -> None:
        # The path as it came: what is escaped, doubled or dotted is none of these, whatever others take it for.
        path = scope["raw_path"]
        method = _PATHS.get(path)
        if method == scope["method"]:
            return
        log.warning("route_refused %s %r", scope["method"], path[:_LOGGED_PATH_CHARACTERS])
        if method is None:
            raise _Refused("route", "there is no such route for users")
        raise _Refused("method", f"ask for it with {method}")

    async def _forward(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await self._read(scope, receive)
        work = asyncio.ensure_future(self._relay(scope, body, send))
        left = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            if not work.done():
                work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            raise _Gone from None

    async def _read(self, scope: Message, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > BODY_BYTES_MAX:
                raise _Refused("body_size", f"the body is larger than {BODY_BYTES_MAX} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > BODY_BYTES_MAX:
                        raise _Refused("body_size", f"the body is larger than {BODY_BYTES_MAX} bytes")
        except TimeoutError:
            raise _Refused("slow_body", f"the body did not come in {self._body_seconds:g} s") from None
        return bytes(body)

    async def _relay(self, scope: Message, body: bytes, send: Send) -> None:
        for _ in range(_TRIES):
            child = self.serving
            if child is None:
                break
            child.in_flight += 1
            try:
                async with self._request(scope, body, child) as answer:
                    await self._pass_on(answer, send)
                    return
            except TimeoutError:
                raise _Refused("server_silent", f"no answer in {self._answer_seconds:g} s") from None
            except aiohttp.ClientConnectionError:
                continue  # nothing was answered; the server is gone, or had closed this connection
            except aiohttp.ClientError as error:
                raise _Refused("server_broken", f"the server broke HTTP ({type(error).__name__})") from error
            finally:
                child.in_flight -= 1
        raise _Refused("no_release", self._why or "no release can answer now; ask again")

    def _request(self, scope: Message, body: bytes, child: Child) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None, connect=5.0, sock_read=self._answer_seconds),
            )
        query = scope["query_string"].decode("latin-1")
        url = f"http://127.0.0.1:{child.port}{scope['raw_path'].decode()}{'?' * bool(query)}{query}"
        return self._session.request(
            scope["method"],
            URL(url, encoded=True),
            headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in _end_to_end(scope["headers"])],
            data=body or None,
            allow_redirects=False,
        )

    async def _pass_on(self, answer: aiohttp.ClientResponse, send: Send) -> None:
        """Pass an answer on as it comes; one that breaks off ends the client's connection, as it ended ours."""
        headers = [(k.lower(), v) for k, v in _end_to_end(answer.raw_headers)]
        if length := answer.headers.get("Content-Length"):
            headers.append((b"content-length", length.encode()))
        await self._tell(send, {"type": "http.response.start", "status": answer.status, "headers": headers})
        try:
            async for part in answer.content.iter_any():
                await self._tell(send, {"type": "http.response.body", "body": part, "more_body": True})
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("answer_broken %s", type(error).__name__)
            raise _Gone from error
        await self._tell(send, {"type": "http.response.body", "body": b""})

    async def _tell(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await send(message)
        except TimeoutError:
            log.warning("client_stalled for %g s", self._stall_seconds)
            raise _Gone from None


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Leave out what belongs to one connection, which is also whatever ``Connection`` names (RFC 9110, 7.6.1)."""
    given = list(headers)
    named = {word.strip().lower() for k, v in given if k.lower() == b"connection" for word in v.split(b",")}
    return [(k, v) for k, v in given if k.lower() not in _HOP_BY_HOP and k.lower() not in named]


async def _answer(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "alignd", "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
