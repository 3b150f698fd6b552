"""Adapters behind the public name of a real vLLM server: with the plugin, and behind a gateway; four starts of it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from deploy.canary import Canary, max_abs_diff, take_ranked_canary
from deploy.checkpoint import Release
from deploy.errors import CheckpointError, DeployerUnavailable, Fenced, StageError
from deploy.steer_testing import FakeSteer
from deploy.testing import check_deployer
from deploy.vllm.adapter import VllmAdapterDeployer
from deploy.vllm.ledger import Ledger
from deploy.vllm.plain_replica import PlainReplica
from tests.benchmarks.rollout_adapter import ASKED, flips
from tests.plugin_host import KEY, PUBLIC, PluginHost, adapter_of
from tests.traffic import Traffic

OTHER_ROUTES: dict[str, dict[str, Any]] = {
    "/v1/responses": {"model": PUBLIC, "input": "Hi", "max_output_tokens": 4},
    "/v1/messages": {"model": PUBLIC, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4},
    "/invocations": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4},
}
"""Other ways to the model, the last one without a key and without a model's name."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginHost]:
    host = PluginHost.make(tmp_path_factory.mktemp("plugin"))
    host.start()
    yield host
    host.kill()


@pytest.fixture
async def users(host: PluginHost) -> AsyncIterator[httpx.AsyncClient]:
    await host.first_answer()
    async with host.users() as client:
        yield client


async def logprobs(users: httpx.AsyncClient, model: str | None) -> tuple[str, list[float]]:
    """Who answered, and the log-probabilities of what it says after a fixed prompt."""
    asked = {"prompt": "The quick brown fox.", "max_tokens": 12, "temperature": 0, "logprobs": 1, "ignore_eos": True}
    said = (await users.post("/completions", json=asked | ({"model": model} if model is not None else {}))).json()
    return said["model"], said["choices"][0]["logprobs"]["token_logprobs"]


async def test_the_port_is_kept(host: PluginHost, users: httpx.AsyncClient) -> None:
    deployer = host.deployer()
    assert (await deployer.state()).active == host.base.id
    await check_deployer(deployer, host.a, host.b, changed=host.changed)
    await deployer.promote(host.base)
    assert (await deployer.state()).active == host.base.id


async def test_an_answer_names_the_release_whose_weights_gave_it(host: PluginHost, users: httpx.AsyncClient) -> None:
    deployer, said, bare = host.deployer(), {}, host.url.removesuffix("/v1")
    for release in (host.a, host.b, host.base):
        await deployer.promote(release)
        by_id = await logprobs(users, release.id)
        for model in (PUBLIC, None, ""):
            named, values = await logprobs(users, model)
            assert named == release.id
            assert values == pytest.approx(by_id[1], abs=2e-3)
        said[release.id] = by_id[1]
        chat = (await users.post("/chat/completions", json=dict(ASKED))).json()
        assert chat["model"] == release.id
        for path, asked in OTHER_ROUTES.items():
            answer = await users.post(f"{bare}{path}", json=asked)
            assert (answer.status_code, answer.json()["model"]) == (200, release.id), path
        async with users.stream("POST", "/chat/completions", json={**ASKED, "stream": True}) as answer:
            assert {c["model"] async for c in chunks(answer)} == {release.id}
    for one, other in ((host.a, host.b), (host.a, host.base), (host.b, host.base)):
        assert max(abs(x - y) for x, y in zip(said[one.id], said[other.id], strict=True)) > 0.1


async def chunks(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    last = ""
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            last = line.removeprefix("data: ")
            if last != "[DONE]":
                yield json.loads(last)
    assert last == "[DONE]"


async def test_canaries_tell_releases_apart_and_disturb_nobody(host: PluginHost, users: httpx.AsyncClient) -> None:
    """Beside an adapter, vLLM on a CPU answers for the base as the last adapter would; the plugin mends it."""
    await host.deployer().promote(host.a)
    await host.deployer().stage(host.b)

    async def look() -> list[Canary]:
        return [await take_ranked_canary(users, model=r.id, release=r.id) for r in (host.base, host.a, host.b)]

    looks = [await look()]
    async with Traffic(users, ASKED) as traffic:
        await traffic.more(4)
        looks += [await look(), await look()]
        for asked in ({"prompt_logprobs": 0}, {"echo": True, "logprobs": 1}):
            answer = await users.post("/completions", json={"model": PUBLIC, "prompt": "Hi", "max_tokens": 1, **asked})
            assert answer.status_code == 400
            assert "end this server's engine" in answer.text
        answer = await users.post("/chat/completions", json={**ASKED, "prompt_logprobs": 0})
        assert answer.status_code == 400
        await traffic.more(4)
        page = (await users.get(f"{host.url.removesuffix('/v1')}/metrics")).text
    assert traffic.failed() == 0
    assert 'alignd_vllm_refusals_total{reason="engine"} 3.0' in page
    one = looks[0]
    for again in looks[1:]:
        assert max(max_abs_diff(x, y) for x, y in zip(one, again, strict=True)) < 2e-3
    for first, second in ((one[0], one[1]), (one[0], one[2]), (one[1], one[2])):
        assert max_abs_diff(first, second) > 0.1


async def test_no_request_fails_and_none_is_answered_by_another_release_after_the_flip(
    host: PluginHost, users: httpx.AsyncClient
) -> None:
    deployer = host.deployer()
    await deployer.promote(host.a)
    async with Traffic(users, ASKED) as traffic:
        long = asyncio.create_task(users.post("/chat/completions", json={**ASKED, "max_tokens": 200}))
        await traffic.more(4)
        assert not long.done()
        figures = await flips(host, deployer, traffic, rounds=2, between=8)
    print(json.dumps(figures))  # noqa: T201
    assert (figures["adapter_failed_requests"], figures["adapter_wrong_release_answers"]) == (0, 0)
    assert {a.release for a in traffic.answers} == {host.a.id, host.b.id}
    assert (await long).json()["model"] == host.a.id, "a request ends where it began"
    assert float(str(figures["adapter_flip_seconds"])) < 5.0
    assert float(str(figures["rollback_seconds"])) < 5.0


async def test_what_must_not_pass_is_refused_and_changes_nothing(host: PluginHost, users: httpx.AsyncClient) -> None:
    deployer = host.deployer()
    await deployer.promote(host.a)
    before = await deployer.state()
    wrong = host.folder / "wrong-token"
    wrong.write_text("x" * 43)
    high = adapter_of(host.base, host.folder, "high", seed=9, rank=16)
    with pytest.raises(StageError, match="has rank 16, the server takes up to 8"):
        await deployer.stage(high)
    for options, message in (
        ({"api_key": None}, "does not take the API key"),
        ({"api_key": "wrong"}, "does not take the API key"),
        ({"token_file": wrong}, "does not take the plugin's token"),
    ):
        with pytest.raises(DeployerUnavailable, match=message):
            await host.deployer(**options).promote(host.b)
    routes = {"/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", f"/adapters/{host.a.id}", "/pause"}
    bare = host.url.removesuffix("/v1")
    async with httpx.AsyncClient(timeout=60) as anybody:
        for path in routes:
            body = {"lora_name": "x", "lora_path": "/x", "name": "x", "src": "/x"}
            headers = {"Authorization": f"Bearer {KEY}"}
            assert (await anybody.post(bare + path, json=body, headers=headers)).status_code in {404, 405}, path
        assert (await anybody.get(f"{host.url}/alignd/state")).status_code == 401
        page = (await anybody.get(f"{bare}/metrics")).text
    assert f'alignd_vllm_active_info{{release="{host.a.id}"}} 1.0' in page
    assert 'alignd_vllm_refusals_total{reason="token"}' in page
    answer = await users.post("/completions", json={"model": host.changed.id, "prompt": "x"})
    assert answer.status_code == 404
    assert await deployer.state() == before


async def test_two_daemons_are_fenced(host: PluginHost, users: httpx.AsyncClient) -> None:
    one, two = host.deployer(fence="claim"), host.deployer(fence="claim")
    await host.deployer().promote(host.a)
    await one.promote(host.b)
    await two.promote(host.a)
    with pytest.raises(Fenced, match="took over at"):
        await one.promote(host.b)
    assert (await two.state()).active == host.a.id
    await host.deployer().promote(host.b)
    await two.promote(host.a)


@pytest.mark.parametrize("lost", ["nothing", "the release"])
async def test_a_killed_server_never_answers_as_the_base(
    host: PluginHost, users: httpx.AsyncClient, lost: str
) -> None:
    await host.deployer().promote(host.a)
    host.kill()
    if lost == "the release":
        shutil.rmtree(host.folder / "state" / "adapters")
        shutil.rmtree(host.a.path)
    host.start()
    first = await host.first_answer()
    if lost == "nothing":
        assert (first.status_code, first.json()["model"]) == (200, host.a.id)
        assert (await host.deployer().state()).active == host.a.id
        return
    assert first.status_code == 503, first.text
    assert (await users.post("/chat/completions", json={**ASKED, "model": None})).status_code == 503
    assert (await host.deployer().state()).active == ""
    assert await host.deployer().lost() == (host.url,)
    with pytest.raises(CheckpointError):
        await host.deployer().promote(host.a)
    await served(host, users, host.b)


async def served(host: PluginHost, users: httpx.AsyncClient, release: Release) -> None:
    await host.deployer().promote(release)
    assert (await users.post("/chat/completions", json=dict(ASKED))).json()["model"] == release.id


async def test_without_the_plugin_a_gateway_steers(host: PluginHost) -> None:
    """The last one: the server is another one from here on, and ``a`` may be gone from the store."""
    host.kill()
    c, d = (adapter_of(host.base, host.folder, name, seed=seed) for seed, name in enumerate("cd", start=20))
    host.start({"VLLM_PLUGINS": "", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"})
    assert (await host.first_answer()).json()["model"] == host.base.id
    steer, ledger = FakeSteer(host.base.id), Ledger(host.folder / "gateway.json")
    replica = PlainReplica(
        host.url, http=lambda: httpx.AsyncClient(timeout=120), headers={"Authorization": f"Bearer {KEY}"}, steer=steer,
        ledger=ledger, base=host.base.id,
    )  # fmt: skip
    deployer = VllmAdapterDeployer([replica], ledger=ledger, fence="claim")
    state = await replica.state()
    assert (state.active, state.up, state.vllm[:4]) == (host.base.id, (host.base.id,), "0.32")
    await check_deployer(deployer, c, d, changed=host.changed)
    assert (await replica.state()).loras_max == 2
    assert steer.model == c.id
    high = adapter_of(host.base, host.folder, "higher", seed=9, rank=16)
    with pytest.raises(StageError, match="rank 16 is greater than max_lora_rank 8"):
        await deployer.promote(high)
    with pytest.raises(DeployerUnavailable, match="has no alignd plugin"):
        await host.deployer().state()
