"""Hostile requests to the shipped proxy files, on real HAProxy and nginx: none reaches vLLM, each is told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from deploy.vllm.front import ALLOWED, BODY_BYTES_MAX
from tests.haproxy_host import haproxy, nginx
from tests.raw_http import Conversation, Upstream, exchange, leave, ok, post, upstream

Program = Callable[[str], str]
PROXIES = ("haproxy", "nginx")
ROUTES = (
    "/adapters", "/invocations", "/metrics", "/ping", "/load", "/tokenize", "/detokenize", "/classify", "/pooling",
    "/score", "/rerank", "/v1/rerank", "/v1/score", "/v2/embed", "/inference/v1/generate", "/cohere/v2/chat",
    "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/alignd/state", "/v1/alignd/activate", "/v1/responses",
    "/v1/messages", "/v1/chat/completions/batch", "/v1/chat/completions/render", "/v1/audio/transcriptions",
    "/collective_rpc", "/pause", "/resume", "/sleep", "/wake_up", "/is_paused", "/reset_prefix_cache",
    "/update_weights", "/init_weight_transfer_engine", "/weight_checker", "/weight_info", "/abort_requests",
    "/server_info", "/start_profile", "/stop_profile", "/scale_elastic_ep", "/fault_tolerance/apply", "/openapi.json",
    "/docs", "/", "/v1", "/v1/", "/state", "/promote",
)  # fmt: skip
TRICKS = (
    "//v1/completions", "/v1//completions", "//adapters", "/V1/Completions", "/v1/completions/", "/v1/completions.",
    "/v1/../adapters", "/v1/completions/../../adapters", "/v1/completions/..;/adapters", "/adapters/../v1/completions",
    "/v1/%2e%2e/adapters", "/v1/completions/%2e%2e/%2e%2e/adapters", "/v1/%63ompletions", "/v1%2fcompletions",
    "/v1/completions%2f..%2f..%2fadapters", "/v1/completions%00", "/v1/completions%20", "/v1/completions%0d%0aX:1",
    "/v1/completions;x", "/v1/completions%3fx", "/v1\\completions", "\\adapters", "/./v1/completions", "*", "adapters",
    "http://x/adapters", "http://x/v1/completions", "http://x//v1/completions", "http://127.0.0.1/v1/../adapters",
    "/v1/completions#/../adapters", "/adapters?/v1/completions", "/adapters#/v1/completions",
)  # fmt: skip
REFUSED = (b"HTTP/1.1 403 ", b"HTTP/1.1 400 ", b"HTTP/1.0 400 ", b"HTTP/1.1 501 ")


@dataclass
class Site:
    port: int
    up: Upstream
    log: Callable[[], str]


def ask(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers, "", "")).encode("latin-1")


async def fine(told: Conversation) -> None:
    await told.say(ok())


@asynccontextmanager
async def site(kind: str, program: Program) -> AsyncIterator[Site]:
    async with upstream(fine) as up:
        to = f"127.0.0.1:{up.port}"
        if kind == "nginx":
            async with nginx(program("nginx"), to) as (port, log):
                yield Site(port=port, up=up, log=log.read_text)
        else:
            async with haproxy(program("haproxy"), upstream=to) as h:
                yield Site(port=h.port, up=up, log=lambda: h.log)


@pytest.mark.parametrize("kind", PROXIES)
async def test_users_routes_pass_each_with_its_method(kind: str, program: Program) -> None:
    async with site(kind, program) as s:
        for path, method in ALLOWED.items():
            for asked in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE", "get"):
                said = await exchange(s.port, ask(asked, path, "Content-Length: 0", "Connection: close"))
                assert said.startswith(b"HTTP/1.1 200 " if asked == method else b"HTTP/1.1 40"), (asked, path, said)
        assert (await exchange(s.port, post("/v1/completions?x=%2e"))).startswith(b"HTTP/1.1 200 ")
    assert s.up.paths == [*ALLOWED, "/v1/completions?x=%2e"]


@pytest.mark.parametrize("kind", PROXIES)
async def test_everything_else_is_refused_and_told_of(kind: str, program: Program) -> None:
    async with site(kind, program) as s:
        for path in (*ROUTES, *TRICKS):
            for method in ("POST", "GET", "DELETE"):
                said = await exchange(s.port, post(path).replace(b"POST", method.encode(), 1))
                assert said.startswith(REFUSED), (method, path, said)
        await asyncio.sleep(0.1)
        told = [line for line in s.log().splitlines() if "refused=route" in line or "refused=1" in line]
    assert not s.up.heads
    for path in ROUTES:
        assert len([line for line in told if f' {path} HTTP/1.1"' in line]) == 3, path


async def test_haproxy_counts_what_it_refuses(program: Program) -> None:
    async with haproxy(program("haproxy"), upstream="127.0.0.1:9") as h, httpx.AsyncClient() as http:
        for _ in range(3):
            await exchange(h.port, post("/adapters"))
        figures = f"http://127.0.0.1:{h.figures_port}"
        page = (await http.get(f"{figures}/metrics")).text
        assert (await http.get(f"{figures}/")).status_code == 403
    counted = [line for line in page.splitlines() if line.startswith("haproxy_frontend_requests_denied_total")]
    assert 'haproxy_frontend_requests_denied_total{proxy="users"} 3' in counted


FRAMINGS = (
    "Content-Length: 0\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 0",
    "Transfer-Encoding: chunked", "Content-Length: 0\r\nContent-Length: 5", "Content-Length: 0, 5",
    "Transfer-Encoding: xchunked\r\nContent-Length: 0", "Transfer-Encoding : chunked\r\nContent-Length: 0",
    "Transfer-Encoding:\tchunked\r\nContent-Length: 0", "Transfer-Encoding: chunked, identity\r\nContent-Length: 0",
    "Transfer-Encoding: identity\r\nContent-Length: 0", 'Transfer-Encoding: "chunked"\r\nContent-Length: 0',
    "X: 1\nTransfer-Encoding: chunked\r\nContent-Length: 0", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 0",
    "Content-Length: +0", "Content-Length: 0x0", "Content-Length: -1", "Content_Length: 5\r\nContent-Length: 0",
    "Connection: Content-Length\r\nContent-Length: 0", "Content-Length: 0\r\nTransfer-Encoding: chunked\x0b",
)  # fmt: skip


@pytest.mark.parametrize("kind", PROXIES)
async def test_no_request_is_smuggled_in_a_request(kind: str, program: Program) -> None:
    hidden = b"POST /adapters HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    async with site(kind, program) as s:
        for framing in FRAMINGS:
            await exchange(s.port, ask("POST", "/v1/completions", framing) + b"0\r\n\r\n" + hidden, seconds=0.3)
    assert set(s.up.paths) <= {"/v1/completions"}
    for head in s.up.heads:
        assert head.lower().count(b"content-length:") == 1, head
        assert b"transfer-encoding" not in head.lower(), head


@pytest.mark.parametrize("kind", PROXIES)
async def test_upgrades_and_uncounted_bodies_are_refused(kind: str, program: Program) -> None:
    async with site(kind, program) as s:
        for protocol in ("websocket", "h2c"):
            asked = ("Connection: Upgrade", f"Upgrade: {protocol}", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
            said = await exchange(s.port, ask("GET", "/v1/models", *asked))
            assert said.startswith(b"HTTP/1.1 403 "), said
        said = await exchange(s.port, ask("POST", "/v1/completions", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 411 "), said
        said = await exchange(s.port, ask("POST", "/v1/completions", f"Content-Length: {BODY_BYTES_MAX + 1}"))
        assert said.startswith(b"HTTP/1.1 413 "), said
        said = await exchange(s.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", seconds=0.3)
        assert b" 200 " not in said, said
    assert not s.up.heads


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_large_body_passes_whole(kind: str, program: Program) -> None:
    body = b"x" * (BODY_BYTES_MAX - 1)
    async with site(kind, program) as s:
        assert (await exchange(s.port, post("/v1/completions", body))).startswith(b"HTTP/1.1 200 ")
    assert s.up.bodies == [body]


@pytest.mark.parametrize("kind", PROXIES)
async def test_streams_pass_part_by_part_and_a_client_that_goes_away_ends_its_request(
    kind: str, program: Program
) -> None:
    read, closed = asyncio.Event(), asyncio.Event()

    async def stream(told: Conversation) -> None:
        await told.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await told.say(b"7\r\ndata: 1\r\n")
        await asyncio.wait_for(read.wait(), 5)
        await told.say(b"7\r\ndata: 2\r\n")
        await told.until_closed()
        closed.set()

    async with upstream(stream) as up:
        to = f"127.0.0.1:{up.port}"
        async with nginx(program("nginx"), to) if kind == "nginx" else haproxy(program("haproxy"), upstream=to) as h:
            port = h[0] if isinstance(h, tuple) else h.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post())
            await asyncio.wait_for(reader.readuntil(b"data: 1"), 5)
            read.set()
            await asyncio.wait_for(reader.readuntil(b"data: 2"), 5)
            await leave(writer)
            await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_client_that_goes_away_while_it_waits_ends_its_request(kind: str, program: Program) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def silent(told: Conversation) -> None:
        asked.set()
        await told.until_closed()
        closed.set()

    async with upstream(silent) as up:
        to = f"127.0.0.1:{up.port}"
        async with nginx(program("nginx"), to) if kind == "nginx" else haproxy(program("haproxy"), upstream=to) as h:
            _, writer = await asyncio.open_connection("127.0.0.1", h[0] if isinstance(h, tuple) else h.port)
            writer.write(post())
            await asyncio.wait_for(asked.wait(), 5)
            await leave(writer)
            await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.parametrize("kind", PROXIES)
async def test_where_no_server_answers_users_are_told_to_come_back(kind: str, program: Program) -> None:
    async with nginx(program("nginx"), "127.0.0.1:9") if kind == "nginx" else haproxy(program("haproxy")) as h:
        said = await exchange(h[0] if isinstance(h, tuple) else h.port, post())
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in said.lower()
    assert b"no release can answer now" in said
