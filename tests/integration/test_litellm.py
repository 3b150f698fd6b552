"""A real LiteLLM proxy on the shipped file: who reaches which adapter, what passes, and what a promotion takes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from deploy.errors import DeployerUnavailable, StageError
from deploy.stack.files import StackValues, render
from deploy.vllm.child import free_port
from deploy.vllm.gateways import LiteLLM, LiteLLMOptions
from deploy.vllm.listening import quiet_server
from probes.behavior import Behavior, BehaviorId
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.targets.openai import OpenAITarget, Options
from tests.fake_plain_vllm import FakePlainVllm

LITELLM = Path(__file__).resolve().parents[2] / "build" / "litellm" / "bin" / "litellm"
BASE, FIRST, SECOND = "base@000000000000", "prod@111111111111", "prod@222222222222"
MASTER = "sk-master"
HI = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One proxy and the server behind it."""

    url: str
    vllm: FakePlainVllm

    def ask(self, path: str = "chat/completions", *, key: str = MASTER, **body: object) -> httpx.Response:
        what = {"prompt": "hi"} if path == "completions" else {"messages": HI}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.post(f"{self.url}/v1/{path}", json={**what, **body}, headers=headers, timeout=30)

    def steer(self, model: str = "prod", key: str = MASTER) -> LiteLLM:
        options = LiteLLMOptions(kind="litellm", url=self.url, key=SecretStr(key), model=model)
        return LiteLLM(options, http=httpx.AsyncClient)


@contextmanager
def listening(vllm: FakePlainVllm, port: int) -> Iterator[uvicorn.Server]:
    server = quiet_server(vllm.app)
    server.config.port = port
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.should_exit = True
    thread.join()


@contextmanager
def proxy(folder: Path, port: int, *, adapter: str, upstream: int) -> Iterator[str]:
    """Start LiteLLM on the shipped file; it is ready when ``ready`` says so."""
    file = folder / f"{port}.yaml"
    file.write_text(render("litellm.yaml", StackValues(name="prod", upstream=f"127.0.0.1:{upstream}", adapter=adapter)))
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_MASTER_KEY": MASTER, "VLLM_API_KEY": "vllm-key",
           "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # fmt: skip
    command = [str(LITELLM), "--config", str(file), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def ready(url: str, log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health/readiness", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.25)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Gateway]]:
    """Two proxies with the files of before and after a promotion; started side by side, for each takes long."""
    if not LITELLM.exists():
        reason = "LiteLLM is not installed; `make test` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder, up = tmp_path_factory.mktemp("litellm"), free_port()
    vllm = FakePlainVllm(BASE, api_key="vllm-key", adapters={FIRST: "/a", SECOND: "/b"})
    one, two = free_port(), free_port()
    with (
        listening(vllm, up),
        proxy(folder, one, adapter=FIRST, upstream=up) as first,
        proxy(folder, two, adapter=SECOND, upstream=up) as second,
    ):
        for url, port in ((first, one), (second, two)):
            ready(url, folder / f"{port}.log")
        yield Gateway(url=first, vllm=vllm), Gateway(url=second, vllm=vllm)


@pytest.fixture
def gateway(both: tuple[Gateway, Gateway]) -> Gateway:
    both[0].vllm.asked.clear()
    return both[0]


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_the_public_name_reaches_the_adapter_and_a_promotion_another(both: tuple[Gateway, Gateway], path: str) -> None:
    for gateway, adapter in zip(both, (FIRST, SECOND), strict=True):
        answer = gateway.ask(path, model="prod")
        assert answer.status_code == 200, answer.text
        assert gateway.vllm.asked[-1]["model"] == adapter
        assert answer.json()["model"] == "prod", "LiteLLM hides who answered, but for"
        assert answer.headers["x-litellm-model-name"] == f"hosted_vllm/{adapter}"


@pytest.mark.parametrize(
    "asked",
    [
        {"model": FIRST}, {"model": SECOND}, {"model": BASE}, {"model": f"hosted_vllm/{BASE}"},
        {"model": f"hosted_vllm/{SECOND}"}, {"model": ""}, {}, {"model": "*"},
        {"model": "other", "fallbacks": [f"hosted_vllm/{BASE}"]}, {"model": "prod", "api_base": "http://127.0.0.1:9/v1"},
        {"model": "x", "user_config": {"model_list": []}},
    ],
)  # fmt: skip
def test_no_other_name_is_known(gateway: Gateway, asked: dict[str, Any]) -> None:
    answer = gateway.ask(**asked)
    assert 400 <= answer.status_code < 500, answer.text
    assert not gateway.vllm.asked


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_no_parameter_puts_another_model_in(gateway: Gateway, path: str) -> None:
    gateway.ask(path, model="prod", extra_body={"model": BASE})
    gateway.ask(path, model="prod", fallbacks=[BASE], model_group_alias={"prod": BASE})
    gateway.ask(path, model=f"hosted_vllm/{FIRST}")
    gateway.ask(path, model=f"prod,{BASE},hosted_vllm/{BASE},{SECOND}")
    assert {a["model"] for a in gateway.vllm.asked} == {FIRST}


def test_a_missing_or_wrong_key_is_refused(gateway: Gateway) -> None:
    assert gateway.ask(model="prod", key="").status_code == 401
    assert 400 <= gateway.ask(model="prod", key="sk-other").status_code < 500
    assert not gateway.vllm.asked


def test_a_stream_comes_part_by_part(gateway: Gateway) -> None:
    gateway.vllm.pause_seconds = 0.05
    text, at = "", []
    with httpx.stream(
        "POST", f"{gateway.url}/v1/chat/completions", headers={"Authorization": f"Bearer {MASTER}"}, timeout=30,
        json={"model": "prod", "stream": True, "messages": HI},
    ) as answer:  # fmt: skip
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                at.append(time.monotonic())
    gateway.vllm.pause_seconds = 0.0
    assert text == FIRST
    assert at[-1] - at[0] > 0.05 * (len(FIRST) - 3), "it was held back"


def test_parameters_of_vllm_pass_but_for_the_priority(gateway: Gateway) -> None:
    given = {
        "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "stop_token_ids": [5], "ignore_eos": True, "min_tokens": 2,
        "prompt_logprobs": 0, "structured_outputs": {"choice": ["a"]}, "chat_template_kwargs": {"thinking": False},
        "seed": 7, "logprobs": True, "top_logprobs": 2, "n": 1, "temperature": 0.0,
    }  # fmt: skip
    assert gateway.ask(model="prod", priority=3, **given).status_code == 200
    (asked,) = gateway.vllm.asked
    assert {k: asked.get(k) for k in given} == given
    assert "priority" not in asked, "LiteLLM keeps it; if it passes now, docs/howto/harden.md can say so"


async def test_alignd_reads_who_answered(both: tuple[Gateway, Gateway]) -> None:
    probe = Probe(
        id=ProbeId("p"), behavior=Behavior(id=BehaviorId("b"), prompt="hi", category="c"), suite="s", attack="direct",
        messages=(Message(role="user", content="hi"),), sampling=Sampling(max_tokens=3), seed=1,
    )  # fmt: skip
    for gateway, adapter in zip(both, (FIRST, SECOND), strict=True):
        options = Options(
            name="t", endpoint=f"{gateway.url}/v1", model="prod", release_in_model=True, api_key=SecretStr(MASTER)
        )
        target = OpenAITarget(options)
        assert (await target.complete(probe)).release == adapter
        assert await target.load() is None
        await target.aclose()


async def test_the_deployer_reads_a_file_and_is_told_that_it_can_not_change_it(gateway: Gateway) -> None:
    assert await gateway.steer().aimed() == FIRST
    with pytest.raises(StageError, match="must keep its models in a database"):
        await gateway.steer().aim(SECOND)
    assert await gateway.steer().aimed() == FIRST
    assert await gateway.steer("other").aimed() == ""
    with pytest.raises(DeployerUnavailable, match="check url and key"):
        await gateway.steer(key="sk-other").aimed()
    assert (await asyncio.to_thread(gateway.ask, model="prod")).status_code == 200
