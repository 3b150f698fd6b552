"""A quarantine on real processes: users get 503 with its reason, the servers go on, a promotion ends it."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.contract.test_supervisor import release, site


async def test_a_quarantine_keeps_users_out_until_a_promotion_and_over_a_restart(tmp_path: Path) -> None:
    first = release(tmp_path, "a")
    async with site(tmp_path) as s, httpx.AsyncClient(trust_env=False) as http:
        served = await s.deployer.promote(first)
        assert await s.ask(http) == first.id
        for _ in range(2):
            await s.deployer.quarantine("out of service: incident i")
        answer = await http.post(f"{s.url}/v1/chat/completions", json={})
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.json()["error"]["message"] == "out of service: incident i"
        state = await s.deployer.state()
        assert (state.active, [u.release for u in state.up]) == ("", [first.id])
        own = await http.post(f"{served.endpoint}/chat/completions", json={})
        assert own.is_success, "it can be measured at its own endpoint"
    async with site(tmp_path) as s, httpx.AsyncClient(trust_env=False) as http:
        await s.deployer.stage(first)
        answer = await http.post(f"{s.url}/v1/chat/completions", json={})
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, "as it is written down"
        await s.deployer.promote(first)
        assert await s.ask(http) == first.id
        assert (await s.deployer.state()).active == first.id


async def test_who_lifts_it_gives_users_what_they_had_over_a_restart_too(tmp_path: Path) -> None:
    first, second = release(tmp_path, "a"), release(tmp_path, "b")
    async with site(tmp_path) as s, httpx.AsyncClient(trust_env=False) as http:
        await s.deployer.promote(first)
        await s.deployer.quarantine("out of service: incident i")
        await s.deployer.stage(second)
        for _ in range(2):
            await s.deployer.lift()
        assert await s.ask(http) == first.id, "and not what was staged meanwhile"
    async with site(tmp_path) as s, httpx.AsyncClient(trust_env=False) as http:
        await s.deployer.stage(first)
        await s.deployer.lift()
        assert await s.ask(http) == first.id, "nothing keeps users out any more"
