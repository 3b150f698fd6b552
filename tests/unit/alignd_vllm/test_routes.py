"""What comes over HTTP: a token first, whole bodies, JSON answers with a reason, each refusal counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from alignd_vllm.routes import TOKEN_HEADER
from alignd_vllm.testing import FakeVllm
from tests.adapter_site import AdapterSite


@pytest.fixture
def site(tmp_path: Path) -> AdapterSite:
    return AdapterSite.make(tmp_path)


@pytest.fixture
async def vllm(site: AdapterSite) -> FakeVllm:
    return await site.fake().start()


@pytest.fixture
async def admin(vllm: FakeVllm) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(vllm.app), base_url="http://x/v1/alignd", headers={TOKEN_HEADER: vllm.token}
    ) as client:
        yield client


async def test_the_verbs(admin: httpx.AsyncClient, vllm: FakeVllm, site: AdapterSite) -> None:
    a = site.adapter("a")
    assert (await admin.post("/claim", json={"holder": "me"})).json() == {"fence": 1}
    folder = {"release": a.id, "path": str(a.path), "sha256": a.manifest.digest, "fence": 1}
    staged = (await admin.post("/stage", json=folder)).json()
    assert (staged["active"], staged["up"]) == (site.base.id, [site.base.id, a.id])
    active = await admin.post("/activate", json={**folder, "expect": site.base.id})
    assert active.json()["active"] == a.id
    assert (await admin.post("/rollback", json={"fence": 1, "expect": a.id})).json()["active"] == site.base.id
    assert (await admin.post("/activate", json={"release": a.id, **folder})).json()["active"] == a.id
    back = await admin.post("/activate", json={"release": site.base.id, "fence": 1})
    assert back.json()["active"] == site.base.id, "the base needs no folder"
    assert (await admin.post("/retire", json={"release": a.id, "fence": 1})).json()["up"] == [site.base.id]
    assert (await admin.get("/state")).json()["refusals"] == {}


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("claim", {}),
        ("claim", {"holder": ""}),
        ("claim", {"holder": 3}),
        ("claim", {"holder": "x" * 5000}),
        ("claim", {"holder": "a\nb"}),
        ("stage", {"release": "a@1", "path": "/x", "sha256": "0"}),
        ("stage", {"release": "a@1", "path": "/x", "sha256": "0", "fence": True}),
        ("stage", {"release": "a@1", "path": "/x", "sha256": "0", "fence": "1"}),
        ("stage", {"release": "a@1", "path": "/x", "sha256": "0", "fence": -1}),
        ("stage", {"release": "a@1", "path": ["/x"], "sha256": "0", "fence": 1}),
        ("activate", {"release": "a@1", "fence": 1}),
        ("rollback", {"fence": 1}),
        ("retire", {"release": None, "fence": 1}),
    ],
)
async def test_a_body_that_is_not_whole_is_refused(
    admin: httpx.AsyncClient, vllm: FakeVllm, verb: str, body: dict[str, object]
) -> None:
    before = (await admin.get("/state")).json()
    answer = await admin.post(f"/{verb}", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "request")
    assert (await admin.get("/state")).json() == {**before, "refusals": {"request": 1}}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 20_000, b"\xff", b"x" * 70_000])
async def test_what_is_no_body_is_refused(admin: httpx.AsyncClient, body: bytes) -> None:
    answer = await admin.post("/claim", content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "request")


@pytest.mark.parametrize("token", [b"", b"x", b"\xfc"])
async def test_a_wrong_token_is_refused(
    admin: httpx.AsyncClient, vllm: FakeVllm, token: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for method, verb in (("GET", "state"), ("POST", "claim"), ("POST", "activate"), ("POST", "retire")):
        headers = {TOKEN_HEADER.encode(): token}
        answer = await admin.request(method, f"/{verb}", json={"holder": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "token")
    assert vllm.refusals["token"] == 4
    assert "alignd_refused claim: token" in caplog.text


async def test_refusals_are_counted_by_reason(admin: httpx.AsyncClient, site: AdapterSite) -> None:
    a = site.adapter("a")
    await admin.post("/claim", json={"holder": "me"})
    folder = {"release": a.id, "path": str(a.path), "sha256": a.manifest.digest, "fence": 1}
    for body, status, reason in (
        ({**folder, "fence": 0}, 409, "fenced"),
        ({**folder, "path": "/etc"}, 409, "checkpoint"),
        ({**folder, "sha256": "0" * 64}, 409, "checkpoint"),
        ({**folder, "expect": "other@1"}, 409, "expect"),
    ):
        answer = await admin.post("/activate", json=body)
        assert (answer.status_code, answer.json()["error"]) == (status, reason)
    state = (await admin.get("/state")).json()
    assert state["refusals"] == {"fenced": 1, "checkpoint": 2, "expect": 1}
    assert (state["active"], state["up"]) == (site.base.id, [site.base.id])


async def test_a_server_that_starts_says_so(site: AdapterSite) -> None:
    vllm = site.fake()
    vllm.token = "x" * 40
    async with httpx.AsyncClient(transport=httpx.ASGITransport(vllm.app), base_url="http://x") as client:
        answer = await client.get("/v1/alignd/state", headers={TOKEN_HEADER: vllm.token})
        assert (answer.status_code, answer.json()["error"]) == (409, "stage")
        vllm.token = ""
        assert (await client.get("/v1/alignd/state", headers={TOKEN_HEADER: ""})).status_code == 401
