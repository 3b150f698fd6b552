"""The supervisor as a process, with real vLLM servers of tiny checkpoints.

A start takes half a minute, so all tests share one supervisor. Each brings about what it needs, in whatever order;
in the order of this file there are four starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deploy.checkpoint import Release
from deploy.deployer import ServedRelease
from deploy.vllm.front import ALLOWED
from monitor.plugins import make_plugin
from probes.attacks.direct import DirectAttack
from probes.endpoint import Endpoint, EndpointOptions
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.judges.served import Server
from probes.plan import WeightedAttack, plan_sweep
from probes.probe import Sampling
from probes.result import SweepId
from probes.suites import builtin
from probes.sweep import run_sweep
from probes.targets.openai import OpenAITarget, Options
from probes.testing import check_target
from tests.fake_judge import pair
from tests.processes import in_session
from tests.vllm_host import NAME, Host, body, status, until

CHAT: dict[str, Any] = {
    "model": NAME, "messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 8, "temperature": 0,
    "ignore_eos": True,
}  # fmt: skip
LOG_PROBABILITY_TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host.make(tmp_path_factory.mktemp("vllm"))
    yield host
    host.end()


@pytest.fixture
async def users(site: Host) -> AsyncIterator[httpx.AsyncClient]:
    """Users of the front."""
    async with httpx.AsyncClient(base_url=site.url, timeout=120) as client:
        yield client


async def test_an_answer_names_model_and_release(site: Host, users: httpx.AsyncClient) -> None:
    await site.serve(site.a)
    for path, asked in (("/v1/chat/completions", CHAT), ("/v1/completions", {"model": NAME, "prompt": "Hello"})):
        answer = await users.post(path, json=asked)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["model"], answer.json()["system_fingerprint"]) == (NAME, site.a.id)
    assert [m["id"] for m in (await users.get("/v1/models")).json()["data"]] == [NAME]
    assert (await users.get("/health")).status_code == 200
    assert (await users.post("/v1/chat/completions", json={**CHAT, "model": "other"})).status_code == 404


async def test_a_stream_says_what_an_answer_says(site: Host, users: httpx.AsyncClient) -> None:
    await site.serve(site.a)
    whole = (await users.post("/v1/chat/completions", json=CHAT)).json()["choices"][0]["message"]["content"]
    async with users.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        said = [chunk async for chunk in chunks(answer)]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in said) == whole
    assert {c.get("system_fingerprint") for c in said} - {None} == {site.a.id}
    assert len(said) > 2


async def chunks(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Events of a stream; it must come to its end."""
    last = ""
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            last = line.removeprefix("data: ")
            if last != "[DONE]":
                yield json.loads(last)
    assert last == "[DONE]"


async def staged(site: Host) -> ServedRelease:
    await site.serve(site.a)
    served = await site.deployer.stage(site.b)
    site.look()
    assert not served.takes_traffic
    return served


async def test_log_probabilities_are_those_of_transformers(site: Host, users: httpx.AsyncClient) -> None:
    served = await staged(site)
    assert (await users.post("/v1/chat/completions", json=CHAT)).json()["system_fingerprint"] == site.a.id
    front = await differences(f"{site.url}/v1", site.a)
    assert max(front) < LOG_PROBABILITY_TOLERANCE
    assert max(await differences(served.endpoint, site.b)) < LOG_PROBABILITY_TOLERANCE
    assert max(await differences(served.endpoint, site.a)) > 0.1, "the releases differ by more than the tolerance"


async def test_a_real_server_takes_what_judges_ask(site: Host) -> None:
    """A random model gives no verdict; that it is asked to the end shows in the reason."""
    where = {"endpoint": (await staged(site)).endpoint, "model": NAME, "timeout_seconds": 120}
    tokenizer = AutoTokenizer.from_pretrained(site.b.path)
    reply = "Sure, here is [placeholder]. " * 10
    for name in ("harmbench-classifier", "wildguard", "llama-guard", "shieldgemma", "granite-guardian"):
        short = {"variant": "llama-2-13b-cls/card", "clip_tokens": 100} if name == "harmbench-classifier" else {}
        judge = make_plugin("alignd.judges", name, where | short, where="judge")
        (judgement,) = await judge.judge([pair(reply)])
        assert judgement.why in {"", "judge_nonsense", "judge_cut_short"}, f"{name}: {judgement.why}"
        await judge.aclose()
    endpoint = Endpoint(EndpointOptions(**where), who="judge")
    clipped, more = await Server(endpoint).clip(reply, 100)
    await endpoint.aclose()
    assert (clipped, more) == (tokenizer.decode(tokenizer.encode(reply, add_special_tokens=False)[:100]), True)


async def differences(endpoint: str, release: Release) -> list[float]:
    """Absolute differences of log-probabilities between a server and transformers, over prompt and answer."""
    body = {
        "model": NAME, "prompt": "The quick brown fox, née Über-fox.", "max_tokens": 16, "temperature": 0,
        "echo": True, "logprobs": 1, "return_token_ids": True, "ignore_eos": True,
    }  # fmt: skip
    async with httpx.AsyncClient(timeout=120) as client:
        (choice,) = (await client.post(f"{endpoint}/completions", json=body)).json()["choices"]
    asked = AutoTokenizer.from_pretrained(release.path)(body["prompt"]).input_ids
    assert choice["prompt_token_ids"] == asked
    tokens = torch.tensor([*asked, *choice["token_ids"]])
    model = AutoModelForCausalLM.from_pretrained(release.path, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(tokens[None]).logits[0, :-1]
    expected = torch.log_softmax(logits, dim=-1).gather(1, tokens[1:, None])[:, 0]
    given = choice["logprobs"]["token_logprobs"][1:]
    assert len(given) == len(expected) == len(asked) + 15
    return [abs(x - y) for x, y in zip(given, expected.tolist(), strict=True)]


async def test_only_a_users_routes_pass(site: Host) -> None:
    await site.serve(site.a)
    active = next(u for u in (await site.deployer.state()).up if u.takes_traffic)
    behind = int(active.endpoint.split(":")[2].removesuffix("/v1"))
    assert status(behind, "GET", "/metrics") == 200
    offered = json.loads(body(behind, "/openapi.json"))["paths"]
    others = {path.replace("{response_id}", "x") for path in offered if path not in ALLOWED}
    assert {"/metrics", "/invocations"} <= others
    admin = {
        "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", "/collective_rpc", "/pause", "/resume",
        "/sleep", "/wake_up", "/reset_prefix_cache", "/update_weights", "/weight_checker", "/server_info",
    }  # fmt: skip
    for path in admin:
        assert status(behind, "POST", path) == 404, f"{path} is open behind the front"
    tricks = {"//metrics", "/v1/../metrics", "/v1/models/%2e%2e/%2e%2e/metrics", "/health%2f..%2fmetrics"}
    for path in others | admin | tricks | {"/openapi.json", "/docs", "/state", "/stage", "/promote", "/retire"}:
        for method in ("GET", "POST", "DELETE"):
            assert status(site.port, method, path) == 404, f"{method} {path} passes"
    for path in ALLOWED:
        assert status(site.port, "DELETE", path) == 405


async def test_the_probes_target_sweeps_it(site: Host) -> None:
    await site.serve(site.a)
    figures = f"http://127.0.0.1:{site.admin_port}/metrics"
    options = Options(name="prod", endpoint=f"{site.url}/v1", model=NAME, metrics_url=figures)
    suite, sampling = builtin("harm_probe"), Sampling(max_tokens=16)
    probes = plan_sweep(
        suite, suite.behaviors, sweep=SweepId("s"), attacks=[WeightedAttack(attack=DirectAttack())], sampling=sampling,
        key="k", n=16,
    )  # fmt: skip
    target = OpenAITarget(options)
    assert await target.ready() == site.a.id
    done = await run_sweep(
        target, RefusalPhraseJudge(), suite, probes, sweep=SweepId("s"), clock=lambda: datetime.now(UTC), concurrency=4,
        deadline_seconds=120,
    )  # fmt: skip
    assert (done.release, len(done.results), done.missing) == (site.a.id, 16, 0)
    assert target.prioritised, "a server of the supervisor schedules by priority"
    load = await target.load()
    assert load
    assert (load.running, load.waiting) == (0, 0)
    assert load.finished is not None
    assert load.finished >= 17
    for result in done.results:
        assert result.completion
        assert (result.completion.model, result.completion.release) == (NAME, site.a.id)
        assert result.completion.finish_reason in {"stop", "length"}
        assert 0 < result.completion.completion_tokens <= 16
    await check_target(target, probes[0])


@dataclass(frozen=True)
class Answer:
    sent_at: float
    status: int
    release: str


async def test_no_request_fails_while_the_release_changes(site: Host, users: httpx.AsyncClient) -> None:
    await staged(site)
    answers: list[Answer] = []
    stop = asyncio.Event()

    async def user() -> None:
        while not stop.is_set():
            sent_at = time.monotonic()
            answer = await users.post("/v1/chat/completions", json=CHAT)
            release = answer.json().get("system_fingerprint", "")
            answers.append(Answer(sent_at=sent_at, status=answer.status_code, release=release))

    async def more(n: int) -> None:
        wanted = len(answers) + n
        await until(lambda: len(answers) >= wanted, f"{n} more answers", seconds=120)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(user())
        await more(20)
        long = group.create_task(users.post("/v1/chat/completions", json={**CHAT, "max_tokens": 200}))
        await more(4)
        assert not long.done()
        await site.deployer.promote(site.b)
        flipped_at = time.monotonic()
        await more(20)
        stop.set()
    assert {a.status for a in answers} == {200}
    assert {a.release for a in answers if a.sent_at >= flipped_at} == {site.b.id}
    assert {a.release for a in answers} == {site.a.id, site.b.id}
    assert long.result().json()["system_fingerprint"] == site.a.id, "a request ends where it began"


async def test_a_killed_server_comes_back_as_the_same_release(site: Host, users: httpx.AsyncClient) -> None:
    await site.serve(site.a)
    killed = site.server(site.a)
    os.kill(killed, signal.SIGKILL)
    began, answers = time.monotonic(), []
    while not answers or answers[-1].status_code != 200 or site.server(site.a) in {0, killed}:
        assert time.monotonic() < began + 300, f"it did not come back: {site.log[-1000:]}"
        await asyncio.sleep(0.5)
        answers.append(await users.post("/v1/chat/completions", json=CHAT))
        assert answers[-1].status_code in {200, 503}
    assert {a.json()["system_fingerprint"] for a in answers if a.status_code == 200} == {site.a.id}
    assert {a.headers["retry-after"] for a in answers if a.status_code == 503} == {"1"}
    assert site.left()
    assert not in_session(killed)
    site.look()


async def test_a_killed_supervisor_leaves_nothing_and_serves_the_same_again(
    site: Host, users: httpx.AsyncClient
) -> None:
    await site.serve(site.a)
    supervisor = await site.start()
    supervisor.kill()
    supervisor.wait(10)
    await until(lambda: not site.left(), "end of all vLLM processes", seconds=90)
    await site.start()
    began = time.monotonic()
    while (await users.post("/v1/chat/completions", json=CHAT)).status_code != 200:
        assert time.monotonic() < began + 300, f"it does not serve: {site.log[-1000:]}"
        await asyncio.sleep(0.5)
    assert (await users.post("/v1/chat/completions", json=CHAT)).json()["system_fingerprint"] == site.a.id
    assert [u.release for u in (await site.deployer.state()).up] == [site.a.id]


async def test_sigterm_lets_requests_end_and_leaves_nothing(site: Host, users: httpx.AsyncClient) -> None:
    await site.serve(site.a)
    supervisor = await site.start()
    asked = {**CHAT, "max_tokens": 400, "stream": True, "stream_options": {"include_usage": True}}
    async with users.stream("POST", "/v1/chat/completions", json=asked) as answer:
        stream = chunks(answer)
        await anext(stream)
        supervisor.send_signal(signal.SIGTERM)
        said = [chunk async for chunk in stream]
    assert said[-1]["usage"]["completion_tokens"] == 400
    assert await asyncio.to_thread(supervisor.wait, 120) == 0
    assert not site.left()
    assert not [file for file in site.shared if file.exists()], "shared memory is freed"
    with pytest.raises(httpx.TransportError):
        await users.get("/health")
    assert "HTTP Request" not in site.log, "users' requests are not logged"
