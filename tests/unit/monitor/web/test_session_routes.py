"""The page's session: a cookie, and a word that other pages don't know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.fake_site import World
from tests.web_site import Api, opened

SESSION, PAUSE = "/api/v1/session", "/api/v1/targets/prod/pause"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with opened(World(folder=tmp_path)) as found:
        yield found


async def signed_in(api: Api, who: str = "all") -> tuple[httpx.AsyncClient, str]:
    client = api.client()
    answer = await client.post(SESSION, json={"token": api.tokens[who]})
    assert answer.status_code == 201, answer.text
    return client, answer.json()["csrf"]


async def test_a_session_stands_for_its_token(api: Api) -> None:
    client, csrf = await signed_in(api)
    assert (await client.get("/api/v1/targets")).status_code == 200
    who = (await client.get("/api/v1/whoami")).json()
    assert (who["name"], who["csrf"], who["scopes"]) == ("all", csrf, ["approve", "operate", "read"])
    assert (await client.post(PAUSE, json={}, headers={"X-CSRF-Token": csrf})).status_code == 200
    assert api.records[-1].caller == "all"


async def test_the_cookie_is_kept_from_scripts_and_other_sites(api: Api) -> None:
    answer = await api.client().post(SESSION, json={"token": api.tokens["all"]})
    said = answer.headers["set-cookie"]
    assert all(word in said for word in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age="))
    assert "Secure" not in said
    assert api.tokens["all"] not in said + answer.text
    secure = replace(api, amend=lambda access: replace(access, secure=True))
    answer = await secure.client().post(SESSION, json={"token": api.tokens["all"]})
    assert answer.headers["set-cookie"].startswith("__Host-alignd-session=")
    assert "Secure" in answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"]


@pytest.mark.parametrize("word", ["", "wrong"])
async def test_a_change_says_the_word_of_the_session(api: Api, word: str) -> None:
    client, _ = await signed_in(api)
    answer = await client.post(PAUSE, json={}, headers={"X-CSRF-Token": word} if word else {})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:alignd:problem:csrf")
    assert api.service.store.pause_of("prod") is None


async def test_a_session_has_its_tokens_scopes_alone(api: Api) -> None:
    client, csrf = await signed_in(api, "reader")
    assert (await client.post(PAUSE, json={}, headers={"X-CSRF-Token": csrf})).status_code == 403


async def test_a_session_ends(api: Api) -> None:
    client, csrf = await signed_in(api)
    other, _ = await signed_in(api)
    cookies = dict(client.cookies)
    gone = await client.delete(SESSION, headers={"X-CSRF-Token": csrf})
    assert gone.status_code == 204
    again = await api.client(Cookie=f"alignd-session={cookies['alignd-session']}").get("/api/v1/targets")
    assert (again.status_code, again.json()["detail"]) == (401, "the session has ended; sign in again")
    assert (await other.get("/api/v1/targets")).status_code == 200
    api.service.clock.now += timedelta(hours=1)  # type: ignore[attr-defined]
    assert (await other.get("/api/v1/targets")).status_code == 401


@pytest.mark.parametrize("token", ["", "x", "alignd_" + "0" * 38])
async def test_no_token_no_session(api: Api, token: str) -> None:
    answer = await api.client().post(SESSION, json={"token": token})
    assert answer.status_code in {401, 422}
    assert "set-cookie" not in answer.headers
    assert not token or token not in answer.text
    assert api.records[-1].status == answer.status_code


async def test_a_forged_cookie_is_nobodys(api: Api) -> None:
    for cookie in ("alignd-session=forged", "alignd-session=", "alignd-session=a; alignd-session=b"):
        answer = await api.client(Cookie=cookie).get("/api/v1/targets")
        assert answer.status_code in {400, 401}, cookie
