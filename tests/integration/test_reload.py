"""Weights of a real vLLM server change in place: with tied embeddings, under traffic, with guards that are killed.

One server and one scratch server for all tests; each brings about what it needs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deploy.canary import TEXTS, max_abs_diff, stored_canary, take_canary
from deploy.checkpoint import Release, import_checkpoint
from deploy.errors import StageError
from deploy.vllm.child import free_port
from deploy.vllm.client import replica
from deploy.vllm.reload import Options, ReloadDeployer
from deploy.vllm.reload_journal import Journal, Outcome
from tests.tiny import served_checkpoint
from tests.unit.deploy.test_checkpoint import NOW

pytestmark = pytest.mark.asyncio(loop_scope="module")  # the scratch server's process belongs to one loop

NAME = "tiny"
SMALL = ("--max-model-len", "512", "--max-num-seqs", "8")
TOLERANCE = 0.01


@dataclass
class Site:
    first: Release
    second: Release
    options: Options
    process: subprocess.Popen[bytes]
    deployer: ReloadDeployer = field(init=False)

    def __post_init__(self) -> None:
        self.deployer = ReloadDeployer(self.options)

    @property
    def url(self) -> str:
        return self.options.url

    async def serve(self, release: Release) -> None:
        await self.deployer.promote(release)

    def journal(self) -> Journal:
        found = Journal.read(self.options.state)
        assert found
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("reload")
    store, state, port = folder / "store", folder / "state", free_port()
    first, second = (
        import_checkpoint(served_checkpoint(folder / n, seed=i), store, name=n, created_at=NOW)
        for i, n in enumerate(("first", "second"))
    )
    state.mkdir()
    words = (
        sys.executable, "-m", "deploy.vllm.reload_server", "--releases", str(store), "--state", str(state),
        "--name", NAME, "--port", str(port), "--dtype", "float32", "--first", first.id, *SMALL,
    )  # fmt: skip
    more = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **more})
    end = time.monotonic() + 600
    while not _up(port):
        assert process.poll() is None, (folder / "server.log").read_text()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.5)
    options = Options(url=f"http://127.0.0.1:{port}", model=NAME, releases=store, state=state, scratch_arguments=SMALL)
    made = Site(first=first, second=second, options=options, process=process)
    yield made
    await made.deployer.aclose()
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


def _up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def traffic(site: Site) -> AsyncIterator[list[tuple[int, str, str]]]:
    """Users without a break; yields status, text and the release that each answer names."""
    told: list[tuple[int, str, str]] = []
    stop = asyncio.Event()

    async def user(http: httpx.AsyncClient) -> None:
        body = {"model": NAME, "prompt": "Name a river.", "max_tokens": 16, "temperature": 0, "ignore_eos": True}
        while not stop.is_set():
            answer = await http.post(f"{site.url}/v1/completions", json=body)
            said = answer.json()
            told.append((answer.status_code, said["choices"][0]["text"], said["system_fingerprint"]))

    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        users = [asyncio.create_task(user(http)) for _ in range(3)]
        try:
            yield told
        finally:
            stop.set()
            await asyncio.gather(*users)


async def far_from_transformers(site: Site, release: Release) -> float:
    """Largest difference of log-probabilities between the server and transformers."""
    async with httpx.AsyncClient(base_url=f"{site.url}/v1", timeout=60, trust_env=False) as http:
        seen = await take_canary(http, model=NAME, release=release.id)
    tokenizer = AutoTokenizer.from_pretrained(release.path)
    model = AutoModelForCausalLM.from_pretrained(release.path, dtype=torch.float32)
    far = 0.0
    for text, tokens, values in zip(TEXTS, seen.tokens, seen.values, strict=True):
        ids = torch.tensor(tokenizer(text).input_ids)
        assert tokens == tuple(ids[1:].tolist())
        with torch.inference_mode():
            said = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        far = max(far, float((said - torch.tensor(values)).abs().max()))
    return far


async def test_a_release_is_changed_in_place_under_traffic(site: Site) -> None:
    await site.serve(site.first)
    staged = await site.deployer.stage(site.second)
    assert not staged.takes_traffic
    async with traffic(site) as told:
        await asyncio.sleep(0.5)
        await site.deployer.promote(site.second)
        await asyncio.sleep(0.5)
    journal = site.journal()
    print("held", journal.held_seconds, {k: round(v - journal.times["hold"], 3) for k, v in journal.times.items()})
    assert {status for status, _, _ in told} == {200}
    assert {name for _, _, name in told} == {site.first.id, site.second.id}
    assert len({(text, name) for _, text, name in told}) == 2, "each release says one thing, greedily"
    assert journal.outcome is Outcome.DONE
    assert journal.held_seconds < 5.0
    assert await far_from_transformers(site, site.second) < TOLERANCE
    assert await far_from_transformers(site, site.first) > 100 * TOLERANCE
    state = await site.deployer.state()
    before = state.find(site.first.id)
    assert state.active == site.second.id
    assert before, "the release before stays up"
    assert not before.takes_traffic


async def test_vllms_own_reload_is_found_out_and_mended(site: Site) -> None:
    """vLLM says success to a reload that leaves the tied output head as it was."""
    await site.serve(site.first)
    token = (site.options.state / "admin-token").read_text()
    headers = {"x-alignd-token": token}
    async with httpx.AsyncClient(base_url=site.url, headers=headers, timeout=60, trust_env=False) as http:
        headers["x-alignd-fence"] = str((await http.get("/alignd/hold")).json()["fence"])
        asked = {"method": "reload_weights", "kwargs": {"weights_path": str(site.second.path)}}
        for path, body in (("/pause?mode=wait", None), ("/collective_rpc", asked), ("/resume", None)):
            (await http.post(path, json=body, headers=headers)).raise_for_status()
    assert await far_from_transformers(site, site.second) > 10 * TOLERANCE, "vLLM mended it: leave ReloadWorker out"
    assert (await site.deployer.state()).active == site.first.id, "it lies"
    await site.deployer.promote(site.first)
    assert await far_from_transformers(site, site.first) < TOLERANCE


@pytest.mark.parametrize("step", ["drain", "load", "clear", "prove"])
async def test_a_guard_that_is_killed_is_followed_by_one_that_ends_the_change(site: Site, step: str) -> None:
    await site.serve(site.first)
    await site.deployer.stage(site.second)

    async def kill() -> int:
        while True:
            journal = site.journal()
            if not journal.outcome and journal.guard and journal.step == step:
                os.kill(journal.guard, signal.SIGKILL)
                return journal.guard
            await asyncio.sleep(0.001)

    killer = asyncio.create_task(kill())
    async with traffic(site) as told:
        try:
            await site.deployer.promote(site.second)
        except StageError as error:
            print(step, error)
    ended = site.journal()
    assert ended.guard != await killer
    served = {Outcome.DONE: site.second, Outcome.ROLLED_BACK: site.first, Outcome.UNCHANGED: site.first}[ended.outcome]
    assert await far_from_transformers(site, served) < TOLERANCE
    assert (await site.deployer.state()).active == served.id
    assert {status for status, _, _ in told} == {200}
    assert len({(text, name) for _, text, name in told}) <= 2


async def test_users_reach_no_route_that_changes_something(site: Site) -> None:
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


async def test_what_the_worker_describes(site: Site) -> None:
    token = (site.options.state / "admin-token").read_text()
    async with replica(site.url, model=NAME, token=token) as server:
        server.act_with((await server.door()).fence)
        described: Any = await server.describe()
    assert (described.dtype, described.quantization, described.speculative) == ("float32", "", False)
    assert described.server == "vllm 0.32.0"
    assert Path(described.model).name in {site.first.id, site.second.id}


async def test_the_same_weights_say_the_same_on_another_server(site: Site) -> None:
    """The noise of a canary: two servers of one release, one of them changed in place."""
    await site.serve(site.first)
    await site.deployer.stage(site.second)
    await site.deployer.promote(site.second)
    kept = stored_canary(site.options.releases, site.second.id, dtype="float32")
    assert kept
    async with httpx.AsyncClient(base_url=f"{site.url}/v1", timeout=60, trust_env=False) as http:
        seen = await take_canary(http, model=NAME, release=site.second.id)
    print("diff", max_abs_diff(seen, kept))
    assert max_abs_diff(seen, kept) < 1e-3
