"""What is refused before any path is looked up, and what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.web.access import new_token
from tests.fake_site import World
from tests.web_site import Api, opened

PAUSE = "/api/v1/targets/prod/pause"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with opened(World(folder=tmp_path)) as found:
        yield found


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"Host": "evil.example"}, 421, "unknown-host"),
        ({"Origin": "http://evil.example"}, 403, "cross-site"),
        ({"Origin": "null"}, 403, "cross-site"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "cross-site"),
        ({"Sec-Fetch-Site": "same-site"}, 403, "cross-site"),
        ({"Content-Type": "text/plain"}, 415, "no-json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "no-json"),
        ({"Transfer-Encoding": "chunked"}, 400, "malformed"),
        ({"Authorization": "Basic YTpi"}, 401, "unauthorized"),
        ({"Authorization": "Bearer x"}, 401, "unauthorized"),
    ],
)
async def test_it_is_refused_and_put_down(api: Api, headers: dict[str, str], status: int, kind: str) -> None:
    content = {"Content-Type": "application/json", "Content-Length": "2"}
    answer = await api.client("all").post(PAUSE, content=b"{}", headers={**content, **headers})
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:alignd:problem:{kind}")
    assert api.service.store.pause_of("prod") is None
    (record,) = api.records
    assert (record.status, record.problem, record.method, record.path) == (status, kind, "POST", PAUSE)


async def test_a_header_that_counts_may_be_there_once(api: Api) -> None:
    twice = [("Authorization", "Bearer a"), ("Authorization", f"Bearer {api.tokens['all']}")]
    answer = await api.client().get("/api/v1/targets", headers=twice)
    assert (answer.status_code, "2 times" in answer.text) == (400, True)


async def test_the_daemons_own_page_may_change_things(api: Api) -> None:
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert (await api.client("all", **own).post(PAUSE, json={})).status_code == 200


async def test_changes_are_put_down_and_reads_are_not(api: Api) -> None:
    client = api.client("operator")
    await client.get("/api/v1/targets")
    await client.get("/api/v1/targets/nobody")
    await client.get("/metrics")
    assert api.records == []
    await client.post(PAUSE, json={"reason": "x"})
    (record,) = api.records
    assert (record.caller, record.status, record.problem) == ("operator", 200, "")


async def test_metrics_and_health_are_open(api: Api) -> None:
    for path in ("/metrics", "/health", "/healthz"):
        assert (await api.client(Host="alignd").get(path)).status_code == 200, path
    for path in ("/api/v1/status", "/api/v1/targets", "/api/v1/openapi.json", "/api/v1/nothing", "/api/v1/whoami"):
        assert (await api.client().get(path)).status_code == 401, path


async def test_metrics_can_be_kept(api: Api) -> None:
    kept = replace(api, amend=lambda access: replace(access, protect_metrics=True))
    assert (await kept.client().get("/metrics")).status_code == 401
    assert (await kept.client("reader").get("/metrics")).status_code == 200
    assert (await kept.client().get("/healthz")).status_code == 200


async def test_without_tokens_all_may_read_and_nobody_changes(api: Api) -> None:
    loose = replace(api, amend=lambda access: replace(access, tokens=(), open_to_read=True))
    assert (await loose.client().get("/api/v1/targets")).status_code == 200
    assert (await loose.client().get("/api/v1/status")).status_code == 200
    assert (await loose.client().post(PAUSE, json={})).status_code == 403
    assert (await loose.client("all").get("/api/v1/targets")).status_code == 401


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nothing", "/api/v1/targets", "/api/v1/openapi.json"])
async def test_every_answer_keeps_browsers_in_bounds(api: Api, path: str) -> None:
    headers = (await api.client("all").get(path)).headers
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get("cache-control") == ("no-store" if path.startswith("/api/") else None)


async def test_who_calls_too_often_waits(api: Api) -> None:
    few = replace(api, amend=lambda access: replace(access, requests_per_minute=4))
    client = few.client("reader")
    assert [(await client.get("/api/v1/whoami")).status_code for _ in range(5)] == [200] * 4 + [429]
    answer = await client.get("/api/v1/whoami")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "15")
    assert (await few.client("operator").get("/api/v1/whoami")).status_code == 200, "behind the same proxy"


async def test_strangers_take_nobody_elses_calls(api: Api) -> None:
    few = replace(api, amend=lambda access: replace(access, requests_per_minute=3))
    stranger = few.client()
    assert [(await stranger.get("/static/nope")).status_code for _ in range(5)] == [404] * 3 + [429] * 2
    assert (await few.client("reader").get("/api/v1/targets")).status_code == 200
    for path in ("/metrics", "/health", "/healthz"):
        assert [(await stranger.get(path)).status_code for _ in range(5)] == [200] * 5, path
        assert (await stranger.post(path)).status_code == 429, "reading alone is free"


@pytest.mark.parametrize("path", ["/api/v1/whoami", "/metrics", "/static/nope"])
async def test_a_wrong_token_is_counted_wherever_it_is_shown(api: Api, path: str) -> None:
    few = replace(api, amend=lambda access: replace(access, requests_per_minute=3, failures_per_minute=100))
    wrong = few.client(Authorization=f"Bearer {new_token()}")
    assert [(await wrong.get(path)).status_code for _ in range(4)] == [401] * 3 + [429]
    slow = replace(api, amend=lambda access: replace(access, failures_per_minute=2))
    wrong = slow.client(Authorization=f"Bearer {new_token()}")
    assert [(await wrong.get(path)).status_code for _ in range(4)] == [401] * 2 + [429] * 2


async def test_kept_metrics_are_counted(api: Api) -> None:
    kept = replace(api, amend=lambda access: replace(access, protect_metrics=True, requests_per_minute=2))
    assert [(await kept.client().get("/metrics")).status_code for _ in range(3)] == [401, 401, 429]
    assert (await kept.client("reader").get("/metrics")).status_code == 200


async def test_guesses_are_slowed_down_and_right_tokens_pass(api: Api) -> None:
    strict = replace(api, amend=lambda access: replace(access, failures_per_minute=2))
    wrong = strict.client(Authorization=f"Bearer {new_token()}")
    assert [(await wrong.get("/api/v1/whoami")).status_code for _ in range(4)] == [401, 401, 429, 429]
    assert (await strict.client("reader").get("/api/v1/whoami")).status_code == 200
    signs_in = await strict.client().post("/api/v1/session", json={"token": strict.tokens["reader"]})
    assert signs_in.status_code == 429


async def test_calls_without_a_token_guess_nothing(api: Api) -> None:
    strict = replace(api, amend=lambda access: replace(access, failures_per_minute=2))
    assert [(await strict.client().get("/api/v1/whoami")).status_code for _ in range(4)] == [401] * 4
    signs_in = await strict.client().post("/api/v1/session", json={"token": strict.tokens["reader"]})
    assert signs_in.status_code == 201


async def test_a_token_may_be_a_password(api: Api) -> None:
    client = api.client()
    assert (await client.get("/api/v1/whoami", auth=("any", api.tokens["reader"]))).json()["name"] == "reader"
    assert (await client.get("/api/v1/whoami", auth=("any", "wrong"))).status_code == 401


async def test_a_body_that_is_too_large_does_nothing(api: Api) -> None:
    answer = await api.client("all").post(PAUSE, json={"reason": "x" * 2_000_000})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert api.service.store.pause_of("prod") is None
