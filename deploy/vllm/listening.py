"""How the supervisor listens: ports that are free, and a server that slow or endless request heads can't fill."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from deploy.errors import StageError

__all__ = ["HEAD_BYTES_MAX", "listen", "quiet_server"]

HEAD_BYTES_MAX = 64 << 10
_HEAD_SECONDS = 10.0


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Leave the signals to the supervisor."""


class _BoundedHeads(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Closes a connection whose request head is too long or too late; uvicorn waits for one for ever."""

    head_seconds = _HEAD_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._head_bytes = 0
        self._late: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        between = before is None or before.response_complete
        if between and self._late is None:
            self._expect_head()
        super().data_received(data)
        if self.cycle is not before:
            self._forget_head()
        elif between:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.transport.close()

    def _expect_head(self) -> None:
        self._late = asyncio.get_running_loop().call_later(self.head_seconds, self.transport.close)

    def _forget_head(self) -> None:
        self._head_bytes = 0
        if self._late:
            self._late.cancel()
            self._late = None


def quiet_server(
    app: Callable[[Any, Any, Any], Awaitable[None]], *, head_seconds: float = _HEAD_SECONDS
) -> uvicorn.Server:
    """Return a server that writes no line for each request, takes no signals and opens no WebSockets.

    Args:
        app: An ASGI application.
        head_seconds: How long a client may take to send a request's head.
    """
    protocol = type("BoundedHeads", (_BoundedHeads,), {"head_seconds": head_seconds})
    config = uvicorn.Config(
        app, http=protocol, log_level="warning", access_log=False, lifespan="off", ws="none", server_header=False,
        date_header=False, timeout_graceful_shutdown=60,
    )  # fmt: skip
    return _Server(config)


def listen(host: str, port: int, option: str) -> socket.socket:
    """Open a port.

    Raises:
        StageError: It is taken.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise StageError(f"{host}:{port} can't be taken ({error}); give {option} a free one") from error
