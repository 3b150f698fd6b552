"""The API on a socket: slow clients, what is no HTTP, and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.errors import ConfigError
from monitor.web import wire
from monitor.web.calls import CallRecord
from monitor.web.wire import DeadlineProtocol, make_server, renew_certificate

Send = Callable[[MutableMapping[str, Any]], Any]


async def says_hello(scope: MutableMapping[str, Any], _: object, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def running(records: list[CallRecord], **tls: Path) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    server = make_server(says_hello, record=records.append, **tls)
    server.config.http = partial(DeadlineProtocol, record=records.append, header_seconds=0.2)  # type: ignore[assignment]
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server._serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def serving(records: list[CallRecord], **tls: Path) -> AsyncIterator[int]:
    async with running(records, **tls) as (_, port):
        yield port


async def said(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_who_does_not_send_headers_in_time_is_let_go(begun: bytes) -> None:
    records: list[CallRecord] = []
    async with serving(records) as port:
        assert await said(port, begun) == b""
    assert [(r.problem, r.status, r.address) for r in records] == [("slow", 408, "127.0.0.1")]


async def test_a_second_request_has_the_same_deadline() -> None:
    records: list[CallRecord] = []
    async with serving(records) as port:
        answer = await said(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHos")
    assert answer.endswith(b"hello")
    assert [r.problem for r in records] == ["slow"]


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000,
    ],
)
async def test_what_is_no_http_is_refused_and_put_down(sent: bytes) -> None:
    records: list[CallRecord] = []
    async with serving(records) as port:
        answer = await said(port, sent)
    assert answer.split(b" ")[1] == b"400"
    assert [r.problem for r in records] == ["malformed"]


async def test_one_address_holds_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_FROM_ONE_MAX", 1)
    records: list[CallRecord] = []
    async with serving(records) as port:
        first = await asyncio.open_connection("127.0.0.1", port)
        assert await said(port) == b""
        first[1].close()
    assert "too-many-connections" in {r.problem for r in records}


async def test_a_body_does_not_wait_for_the_acknowledgement_of_its_headers() -> None:
    async with running([]) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        (connection,) = server.server_state.connections
        assert isinstance(connection, DeadlineProtocol)
        taken = connection.transport.get_extra_info("socket")
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()


def certificate(folder: Path) -> dict[str, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"certificate": folder / "cert.pem", "key": folder / "key.pem"}


async def test_it_speaks_tls(tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    async with serving([], **tls) as port:
        context = ssl.create_default_context(cafile=tls["certificate"])
        async with httpx.AsyncClient(verify=context) as client:
            assert (await client.get(f"https://localhost:{port}/")).text == "hello"


def presented(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)


async def test_a_renewed_certificate_is_presented_and_open_connections_go_on(tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    before = tls["certificate"].read_text()
    async with running([], **tls) as (server, port):
        trusted = ssl.create_default_context(cafile=tls["certificate"])
        async with httpx.AsyncClient(verify=trusted) as client:
            assert (await client.get(f"https://localhost:{port}/")).text == "hello"
            assert await asyncio.to_thread(presented, port) == before
            renewed = certificate(tmp_path)["certificate"].read_text()
            assert await asyncio.to_thread(presented, port) == before, "not before it is told"
            renew_certificate(server)
            assert await asyncio.to_thread(presented, port) == renewed != before
            assert (await client.get(f"https://localhost:{port}/")).text == "hello", "over the connection it had"
        (tmp_path / "other").mkdir()
        tls["certificate"].write_bytes(certificate(tmp_path / "other")["certificate"].read_bytes())
        with pytest.raises(ConfigError, match=r"listen.tls_certificate"):
            renew_certificate(server)
        assert await asyncio.to_thread(presented, port) == renewed, "a key that does not fit changes nothing"


async def test_a_server_without_tls_has_nothing_to_renew() -> None:
    async with running([]) as (server, port):
        renew_certificate(server)
        assert b"hello" in await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    tls["key"].write_text("none")
    for broken in (tls, {"certificate": tmp_path / "absent.pem"}):
        with pytest.raises(ConfigError, match=r"listen.tls_certificate"):
            make_server(says_hello, record=lambda _: None, **broken)
