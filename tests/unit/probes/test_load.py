"""What a server says of its load, and how probes stand behind its users."""

from __future__ import annotations

import json

import httpx
import pytest
from pydantic import SecretStr

from probes.target import Load
from probes.targets.openai import OpenAITarget, Options
from probes.targets.vllm_metrics import LoadReader
from tests.unit.probes.test_openai import whole

METRICS = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_running{engine="1"} 2.0
vllm:num_requests_waiting{engine="0"} 1.0
vllm:kv_cache_usage_perc{engine="0"} 0.5
vllm:kv_cache_usage_perc{engine="1"} 0.25
vllm:request_success_total{finished_reason="stop"} 40.0
vllm:request_success_total{finished_reason="length"} 2.0
vllm:time_to_first_token_seconds_sum 10.0
vllm:time_to_first_token_seconds_count 4.0
"""


def shown(page: str, status: int = 200, **options: str) -> tuple[OpenAITarget, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, text=page)

    given = Options(name="t", endpoint="http://server/v1", model="m", api_key=SecretStr("secret"), **options)
    return OpenAITarget(given, transport=httpx.MockTransport(server)), asked


async def test_the_servers_own_figures_are_read_beside_the_endpoint() -> None:
    target, asked = shown(METRICS)
    load = await target.load()
    assert load == Load(running=5, waiting=1, kv_cache_ratio=0.375, ttft_seconds=None, finished=42)
    assert str(asked[0].url) == "http://server/metrics"


async def test_figures_elsewhere_are_asked_for_without_the_key() -> None:
    target, asked = shown(METRICS, metrics_url="http://admin:8001/metrics")
    assert await target.load() is not None
    assert str(asked[0].url) == "http://admin:8001/metrics"
    assert "authorization" not in asked[0].headers


@pytest.mark.parametrize("page", ["", "nonsense {", "vllm:num_requests_running NaN\n", METRICS.replace("waiting", "x")])
async def test_a_page_that_is_not_vllms_says_nothing(page: str) -> None:
    assert await shown(page)[0].load() is None
    assert await shown(METRICS, status=404)[0].load() is None


def test_the_time_to_first_token_is_the_mean_between_two_looks() -> None:
    reader = LoadReader()
    later = METRICS.replace("sum 10.0", "sum 13.0").replace("count 4.0", "count 10.0")
    found = [reader.read(page) for page in (METRICS, later, later, METRICS)]
    assert [f and f.ttft_seconds for f in found] == [None, 0.5, None, None]


async def test_a_server_without_priorities_is_asked_without_one_from_then_on() -> None:
    bodies: list[dict[str, object]] = []

    def server(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        if "priority" in bodies[-1]:
            return httpx.Response(400, json={"error": {"message": "Got priority 1 but Priority scheduling is off"}})
        return httpx.Response(200, json=whole())

    target = OpenAITarget(
        Options(name="t", endpoint="http://server/v1", model="m"), transport=httpx.MockTransport(server)
    )
    await target.ready()
    await target.ready()
    assert ["priority" in body for body in bodies] == [True, False, False]
