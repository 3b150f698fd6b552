"""The door before a server: who may pass, who waits, who is refused."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from deploy.errors import StageError
from deploy.vllm.client import Replica
from deploy.vllm.hold import FENCE_HEADER, TOKEN_FILE, TOKEN_HEADER, Hold

TOKEN = "t" * 43


def app() -> Starlette:
    async def echo(request: Request) -> JSONResponse:
        await asyncio.sleep(float(request.query_params.get("seconds", 0)))
        return JSONResponse({"path": request.url.path})

    made = Starlette(
        routes=[Route("/{path:path}", echo, methods=["GET", "POST", "DELETE"])], middleware=[Middleware(Hold)]
    )
    made.state.openai_serving_chat = SimpleNamespace(system_fingerprint="a@1")
    made.state.openai_serving_completion = SimpleNamespace(system_fingerprint="a@1")
    made.state.args = SimpleNamespace()
    return made


@pytest.fixture
def token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "admin-token"
    file.write_text(TOKEN)
    monkeypatch.setenv(TOKEN_FILE, str(file))
    return file


@pytest.fixture
async def http(token_file: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app()), base_url="http://server") as client:
        yield client


def deployer(fence: int = 0) -> dict[str, str]:
    return {TOKEN_HEADER: TOKEN, FENCE_HEADER: str(fence)}


async def claim(http: httpx.AsyncClient, holder: str = "d") -> int:
    return int((await http.post("/alignd/claim", json={"holder": holder}, headers=deployer())).json()["fence"])


@pytest.mark.parametrize(
    "path",
    [
        "/collective_rpc", "/pause", "/resume", "/is_paused", "/server_info", "/reset_prefix_cache", "/adapters",
        "/v1/load_lora_adapter", "/v1/unload_lora_adapter/", "/alignd/hold", "/alignd/claim", "//collective_rpc",
        "/docs", "/openapi.json", "/scale_elastic_ep",
    ],
)  # fmt: skip
@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: "t" * 42, FENCE_HEADER: "9"}])
async def test_without_the_token_nothing_that_changes_something_is_there(
    http: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert (await http.request(method, path, headers=headers)).status_code == 404


async def test_users_pass(http: httpx.AsyncClient) -> None:
    for path in ("/v1/chat/completions", "/v1/models", "/health", "/metrics", "/tokenize"):
        assert (await http.post(path)).json() == {"path": path}


async def test_users_wait_at_a_shut_door(http: httpx.AsyncClient) -> None:
    fence = deployer(await claim(http))
    running = asyncio.create_task(http.post("/v1/completions?seconds=0.2"))
    await asyncio.sleep(0.05)
    said = (await http.post("/alignd/hold", json={"seconds": 5}, headers=fence)).json()
    assert (said["held"], said["running"], said["waiting"]) == (True, 1, 0)
    waiting = asyncio.create_task(http.post("/v1/completions"))
    await asyncio.sleep(0.3)
    said = (await http.get("/alignd/hold", headers=deployer())).json()
    assert (said["running"], said["waiting"]) == (0, 1)
    assert running.done()
    assert not waiting.done()
    assert (await http.get("/health")).status_code == 200
    assert (await http.post("/v1/completions", headers=fence)).status_code == 200, "the canary passes"
    await http.post("/alignd/release", json={}, headers=fence)
    assert (await waiting).status_code == 200


async def test_a_door_that_stays_shut_says_so(http: httpx.AsyncClient) -> None:
    fence = deployer(await claim(http))
    await http.post("/alignd/hold", json={"seconds": 0.1}, headers=fence)
    waited = await http.post("/v1/completions")
    assert (waited.status_code, waited.headers["retry-after"]) == (503, "2")
    assert (await http.post("/v1/completions")).status_code == 503, "it never opens by itself"
    await http.post("/alignd/release", json={}, headers=fence)
    assert (await http.post("/v1/completions")).status_code == 200


async def test_who_was_overtaken_is_refused(http: httpx.AsyncClient, token_file: Path) -> None:
    first, second = await claim(http, "one"), await claim(http, "two")
    assert second == first + 1
    for path in ("/alignd/hold", "/collective_rpc", "/pause", "/v1/load_lora_adapter"):
        refused = await http.post(path, json={"seconds": 5}, headers=deployer(first))
        assert refused.status_code == 409
        assert refused.json()["error"] == "fenced"
        assert "holder two took over at " in refused.json()["message"]
        without = await http.post(path, json={"seconds": 5}, headers={TOKEN_HEADER: TOKEN})
        assert without.status_code == 409
    assert not (await http.get("/alignd/hold", headers=deployer())).json()["held"]
    assert (await http.post("/pause", headers=deployer(second))).status_code == 200
    assert json.loads(token_file.with_name("fence.json").read_text())["fence"] == second
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app()), base_url="http://server") as restarted:
        assert (await restarted.post("/pause", headers=deployer(first))).status_code == 409, "a restart forgets nothing"


async def test_every_answer_can_be_named(http: httpx.AsyncClient) -> None:
    fence = deployer(await claim(http))
    said = (await http.post("/alignd/name", json={"fingerprint": "b@2"}, headers=fence)).json()
    assert said["fingerprint"] == "b@2"


@pytest.mark.parametrize("asked", ["", "[]", "{}", '{"seconds": "soon"}'])
async def test_a_bad_request_changes_nothing(http: httpx.AsyncClient, asked: str) -> None:
    fence = deployer(await claim(http))
    assert (await http.post("/alignd/hold", content=asked, headers=fence)).status_code == 400
    assert not (await http.get("/alignd/hold", headers=fence)).json()["held"]


@pytest.mark.parametrize("content", [None, "", "short"])
async def test_without_a_token_no_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "token"))
    with pytest.raises(RuntimeError, match=r"no token there; start the server with deploy.vllm.reload_server"):
        Hold(app())


@pytest.mark.parametrize("left", ["", "{", "[]", '{"fence": "x"}', '{"fence": 3}'])
async def test_a_lost_count_of_fences_admits_nobody_from_before_and_serves_users(token_file: Path, left: str) -> None:
    token_file.with_name("fence.json").write_text(left)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app()), base_url="http://server") as http:
        assert (await http.post("/v1/completions")).status_code == 200
        refused = await http.post("/pause", headers=deployer(999_999))
        assert refused.status_code == 409
        assert "fence.json was damaged; start the daemon again" in refused.json()["message"]
        new = await claim(http)
        assert (await http.post("/pause", headers=deployer(new))).status_code == 200
    assert json.loads(token_file.with_name("fence.json").read_text())["fence"] == new


async def test_a_claim_on_a_full_disk_is_refused_in_words(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await claim(http, "one")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused = await http.post("/alignd/claim", json={"holder": "two"}, headers=deployer())
    assert refused.status_code == 507
    assert f"fence {first} stays in force; free disk" in refused.json()["message"]
    assert (await http.post("/pause", headers=deployer(first))).status_code == 200, "who holds it goes on"
    http.headers[TOKEN_HEADER] = TOKEN
    with pytest.raises(StageError, match=rf"status 507: .*fence {first} stays in force"):
        await Replica(http, model="m").claim("two")
