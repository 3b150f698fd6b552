"""Weights of a real vLLM server change in place: with tied embeddings, under traffic, with guards that are killed.

One server and one scratch server for all tests; each brings about what it needs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from deploy.canary import max_abs_diff, stored_canary, take_canary
from deploy.errors import StageError
from deploy.vllm.client import replica
from deploy.vllm.reload_journal import Outcome
from tests.reload_host import NAME, ReloadHost
from tests.tiny import served_checkpoint

pytestmark = pytest.mark.asyncio(loop_scope="module")  # the scratch server's process belongs to one loop

TOLERANCE = 0.01
HELD_SECONDS_MAX = 30.0
"""On a machine that does other things too."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReloadHost]:
    folder = tmp_path_factory.mktemp("reload")
    first, second = (served_checkpoint(folder / n, seed=i) for i, n in enumerate(("first", "second")))
    host = ReloadHost.make(folder, first, second)
    await host.start()
    yield host
    await host.end()


async def test_a_release_is_changed_in_place_under_traffic(site: ReloadHost) -> None:
    await site.deployer.promote(site.first)
    staged = await site.deployer.stage(site.second)
    assert not staged.takes_traffic
    async with site.traffic() as told:
        await asyncio.sleep(0.5)
        await site.deployer.promote(site.second)
        await asyncio.sleep(0.5)
    journal = site.journal()
    assert {status for status, _, _ in told} == {200}
    assert {name for _, _, name in told} == {site.first.id, site.second.id}
    assert len({(text, name) for _, text, name in told}) == 2, "each release says one thing, greedily"
    assert journal.outcome is Outcome.DONE
    assert 0 < journal.held_seconds < HELD_SECONDS_MAX
    assert await site.far_from_transformers(site.second) < TOLERANCE
    assert await site.far_from_transformers(site.first) > 100 * TOLERANCE
    state = await site.deployer.state()
    before = state.find(site.first.id)
    assert state.active == site.second.id
    assert before, "the release before stays up"
    assert not before.takes_traffic


async def test_vllms_own_reload_is_found_out_and_mended(site: ReloadHost) -> None:
    """vLLM says success to a reload that leaves the tied output head as it was."""
    await site.deployer.promote(site.first)
    token = (site.options.state / "admin-token").read_text()
    headers = {"x-alignd-token": token}
    async with httpx.AsyncClient(base_url=site.url, headers=headers, timeout=60, trust_env=False) as http:
        headers["x-alignd-fence"] = str((await http.get("/alignd/hold")).json()["fence"])
        asked = {"method": "reload_weights", "kwargs": {"weights_path": str(site.second.path)}}
        for path, body in (("/pause?mode=wait", None), ("/collective_rpc", asked), ("/resume", None)):
            (await http.post(path, json=body, headers=headers)).raise_for_status()
    assert await site.far_from_transformers(site.second) > 10 * TOLERANCE, "vLLM mended it: leave ReloadWorker out"
    assert (await site.deployer.state()).active == site.first.id, "it lies"
    await site.deployer.promote(site.first)
    assert await site.far_from_transformers(site.first) < TOLERANCE


@pytest.mark.parametrize("step", ["load", "prove"])
async def test_a_guard_that_is_killed_is_followed_by_one_that_ends_the_change(site: ReloadHost, step: str) -> None:
    await site.deployer.promote(site.first)
    await site.deployer.stage(site.second)

    async def kill() -> int:
        while True:
            journal = site.journal()
            if not journal.outcome and journal.guard and journal.step == step:
                os.kill(journal.guard, signal.SIGKILL)
                return journal.guard
            await asyncio.sleep(0.001)

    killer = asyncio.create_task(kill())
    async with site.traffic() as told:
        with suppress(StageError):
            await site.deployer.promote(site.second)
    ended = site.journal()
    assert ended.guard != await killer
    served = {Outcome.DONE: site.second, Outcome.ROLLED_BACK: site.first, Outcome.UNCHANGED: site.first}[ended.outcome]
    assert await site.far_from_transformers(served) < TOLERANCE
    assert (await site.deployer.state()).active == served.id
    assert {status for status, _, _ in told} == {200}
    assert len({(text, name) for _, text, name in told}) <= 2


async def test_users_reach_no_route_that_changes_something(site: ReloadHost) -> None:
    async with httpx.AsyncClient(base_url=site.url, timeout=60, trust_env=False) as http:
        for path in (
            "/collective_rpc", "/pause", "/resume", "/sleep", "/wake_up", "/reset_prefix_cache", "/update_weights",
            "/update_weight_version", "/weight_checker", "/server_info", "/adapters", "/v1/load_lora_adapter",
            "/alignd/hold", "/alignd/claim", "/alignd/release", "//collective_rpc", "/v1/../collective_rpc",
        ):  # fmt: skip
            for method in ("GET", "POST", "DELETE"):
                answer = await http.request(method, path, json={})
                assert answer.status_code == 404, f"{method} {path}"
        wrong = {"x-alignd-token": "x" * 43, "x-alignd-fence": "999"}
        assert (await http.post("/pause?mode=wait", headers=wrong)).status_code == 404
        assert (await http.get("/v1/models")).status_code == 200


async def test_what_the_worker_describes(site: ReloadHost) -> None:
    token = (site.options.state / "admin-token").read_text()
    async with replica(site.url, model=NAME, token=token) as server:
        server.act_with((await server.door()).fence)
        described = await server.describe()
    assert (described.dtype, described.quantization, described.speculative) == ("float32", "", False)
    assert described.server == "vllm 0.32.0"
    assert Path(described.model).name in {site.first.id, site.second.id}


async def test_the_same_weights_say_the_same_on_another_server(site: ReloadHost) -> None:
    """The noise of a canary: two servers of one release, one of them changed in place."""
    await site.deployer.promote(site.first)
    await site.deployer.stage(site.second)
    await site.deployer.promote(site.second)
    kept = stored_canary(site.options.releases, site.second.id, dtype="float32")
    assert kept
    async with httpx.AsyncClient(base_url=f"{site.url}/v1", timeout=60, trust_env=False) as http:
        seen = await take_canary(http, model=NAME, release=site.second.id)
    assert max_abs_diff(seen, kept) < 1e-3
