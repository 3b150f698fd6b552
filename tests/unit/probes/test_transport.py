"""The connections under httpx."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from probes.transport import AiohttpTransport, proxy_for

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("set_to", "url", "proxy"),
    [
        ({}, "http://s/v1", None),
        ({"http_proxy": "http://p:1"}, "http://s/v1", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://s/v1", None),
        ({"HTTPS_PROXY": "http://p:2"}, "https://s/v1", "http://p:2"),
        ({"all_proxy": "http://p:3"}, "https://s/v1", "http://p:3"),
        ({"http_proxy": "http://p:1", "no_proxy": "s,other"}, "http://s/v1", None),
        ({"http_proxy": "http://p:1", "no_proxy": "other"}, "http://s/v1", "http://p:1"),
    ],
)
def test_the_environment_names_the_proxy(
    set_to: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(httpx.URL(url)) == proxy


@pytest.mark.parametrize("value", [b"caf\xe9", "caf\u00e9".encode(), b"\xff\xfe"])
async def test_a_header_that_is_no_ascii_costs_no_answer(value: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nserver: " + value + b"\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    transport = AiohttpTransport(connections=1, timeout_seconds=5)
    try:
        where = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        answer = await transport.handle_async_request(httpx.Request("GET", where))
    finally:
        await transport.aclose()
        server.close()
        await server.wait_closed()
    assert (answer.status_code, answer.json()) == (200, {})


async def test_requests_go_through_the_proxy_and_keep_no_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: replica=1\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    transport = AiohttpTransport(connections=1, timeout_seconds=5)
    try:
        for _ in range(2):
            answer = await transport.handle_async_request(httpx.Request("GET", "http://model.invalid/metrics"))
            assert answer.status_code == 200
    finally:
        await transport.aclose()
        server.close()
        await server.wait_closed()
    assert all(a.startswith(b"GET http://model.invalid/metrics HTTP/1.1") for a in asked)
    assert not [a for a in asked if b"cookie" in a.lower()]
