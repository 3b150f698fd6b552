"""The server behind the API: HTTP/1.1 by h11, which is strict, with deadlines for slow clients, and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.audit import STRANGER
from monitor.errors import ConfigError
from monitor.web.calls import CallRecord

__all__ = ["DeadlineProtocol", "check_certificate", "make_server", "renew_certificate"]

_HEADER_SECONDS = 10.0
_WRITE_SECONDS = 30.0
_HEADER_BYTES = 16_384
_CONNECTIONS_MAX = 256
_FROM_ONE_MAX = 64
"""Connections of one address: a page takes six, a proxy some more."""
_DRAIN_SECONDS = 5


class DeadlineProtocol(H11Protocol):
    """Closes what does not send its headers, or does not read its answer, in time."""

    def __init__(
        self, *args: Any, record: Callable[[CallRecord], None], header_seconds: float = _HEADER_SECONDS, **named: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Take what uvicorn gives, where refused connections are put down, and the time for headers."""
        super().__init__(*args, **named)
        self._record = record
        self._header_seconds = header_seconds
        self._headers_due: asyncio.TimerHandle | None = None
        self._reading_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers, unless this address holds too many connections."""
        super().connection_made(transport)
        # asyncio does so for a listener of its own alone. Without, a body waits 40 ms for its headers' acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = self._address
        same = sum(isinstance(c, DeadlineProtocol) and c._address == address for c in self.connections)  # noqa: SLF001
        if same > _FROM_ONE_MAX:
            self._refuse("too-many-connections", 503)
        else:
            self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Stop waiting once the headers are there."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._headers_due)
            self._headers_due = None
        elif self._headers_due is None and self.timeout_keep_alive_task is None:
            self._await_headers()

    def on_response_complete(self) -> None:
        """Wait for the rest of a request that has begun behind this one."""
        super().on_response_complete()
        if self._headers_due is None and self.conn.trailing_data[0] and self.cycle.response_complete:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        _cancel(self._headers_due)
        _cancel(self._reading_due)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and put it down."""
        self._put_down("malformed", 400)
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._reading_due = self.loop.call_later(_WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it reads again."""
        _cancel(self._reading_due)
        super().resume_writing()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _await_headers(self) -> None:
        self._headers_due = self.loop.call_later(self._header_seconds, self._refuse, "slow", 408)

    def _refuse(self, problem: str, status: int) -> None:
        if not self.transport.is_closing():
            self._put_down(problem, status)
            self.transport.close()

    def _put_down(self, problem: str, status: int) -> None:
        self._record(CallRecord(
            caller=STRANGER, address=self._address, method="", path="", status=status, problem=problem
        ))  # fmt: skip


def make_server(
    app: Any,  # noqa: ANN401  (an ASGI application has a type in each library)
    *,
    record: Callable[[CallRecord], None],
    certificate: Path | None = None,
    key: Path | None = None,
) -> uvicorn.Server:
    """Make the server; it speaks TLS where it has a certificate.

    Raises:
        ConfigError: The certificate or its key can't be used.
    """
    if certificate:
        check_certificate(certificate, key)
    protocol = cast("type[asyncio.Protocol]", partial(DeadlineProtocol, record=record))
    return uvicorn.Server(uvicorn.Config(
        app, http=protocol, ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
        server_header=False, proxy_headers=False, h11_max_incomplete_event_size=_HEADER_BYTES,
        limit_concurrency=_CONNECTIONS_MAX, timeout_graceful_shutdown=_DRAIN_SECONDS, ssl_certfile=certificate,
        ssl_keyfile=key,
    ))  # fmt: skip


def renew_certificate(server: uvicorn.Server) -> None:
    """Read the certificate and its key anew; open connections keep the one that they began with.

    Raises:
        ConfigError: They can't be used; the one before stays.
    """
    config = server.config
    if not config.ssl_certfile or not config.loaded or not config.ssl:
        return
    certificate, key = Path(config.ssl_certfile), Path(config.ssl_keyfile) if config.ssl_keyfile else None
    check_certificate(certificate, key)  # on its own first: a key that does not fit would leave half of it in force
    config.ssl.load_cert_chain(certificate, key, password=_no_password)


def check_certificate(certificate: Path, key: Path | None) -> None:
    """Look whether TLS can be spoken with a certificate; without a key it stands in the same file.

    Raises:
        ConfigError: It can't.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # a fault of TLS is an OSError, too
        raise ConfigError(
            f"listen.tls_certificate, listen.tls_key: can't be used ({error}); give PEM files of a certificate with "
            "its chain, and of its key without a password"
        ) from error


def _no_password() -> str:
    """Fail where a key has one: the daemon starts without a person."""
    raise ValueError("the key has a password")


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
