"""Users of the server, in a process of their own: seeded traffic, streamed, with the time to each first token.

Run by ``sweep_gentleness``; the last line it prints is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp

from probes.suites import builtin
from tests.benchmarks.sweep_server import NAME

__all__ = ["TOKENS", "Traffic", "capacity", "steady"]

TOKENS = 16
_CAPACITY_CONCURRENCY = 32
_SECONDS_MAX = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What users met.

    Attributes:
        ttft_seconds: From sending a request to the first token of its answer, one for each request that was answered.
        failed: Requests that were not answered.
        seconds: From the first request to the last answer.
    """

    ttft_seconds: tuple[float, ...]
    failed: int
    seconds: float


async def steady(endpoint: str, *, rate: float, n: int, seed: int) -> Traffic:
    """Send ``n`` requests at ``rate`` a second, as independent users do (Poisson), whether answers come or not."""
    said = await _process(endpoint, "--rate", str(rate), "--requests", str(n), "--seed", str(seed))
    return Traffic(ttft_seconds=tuple(said["ttft_seconds"]), failed=said["failed"], seconds=said["seconds"])


async def capacity(endpoint: str, *, n: int) -> float:
    """Measure how many of the users' requests the server can answer a second, with 32 in flight all the time."""
    said = await _process(endpoint, "--rate", "0", "--requests", str(n), "--seed", "0")
    return float(n / said["seconds"])


async def _process(*arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.sweep_users", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise SystemExit(f"the users' process failed ({process.returncode})")
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return said


async def _ask(http: aiohttp.ClientSession, endpoint: str, prompt: str) -> float:
    body = {
        "model": NAME, "messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS, "temperature": 0,
        "stream": True,
    }  # fmt: skip
    began, first = time.perf_counter(), 0.0
    async with http.post(f"{endpoint}/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not first and line.startswith(b"data: {"):
                first = time.perf_counter() - began
    if not first:
        raise aiohttp.ClientPayloadError("a stream without a token")
    return first


async def _arrivals(rate: float, n: int, rng: random.Random) -> AsyncIterator[int]:
    due = time.perf_counter()
    for i in range(n):
        yield i
        due += rng.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def _traffic(endpoint: str, *, rate: float, n: int, seed: int) -> Traffic:
    rng = random.Random(seed)
    prompts = [b.prompt for b in rng.choices(builtin("ordinary").behaviors, k=n)]
    times: list[float] = []
    failed = 0
    free = asyncio.Semaphore(_CAPACITY_CONCURRENCY if not rate else n)

    async def user(http: aiohttp.ClientSession, prompt: str) -> None:
        nonlocal failed
        async with free:
            try:
                times.append(await _ask(http, endpoint, prompt))
            except (aiohttp.ClientError, TimeoutError):
                failed += 1

    timeout = aiohttp.ClientTimeout(total=_SECONDS_MAX)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            if rate:
                async for i in _arrivals(rate, n, rng):
                    group.create_task(user(http, prompts[i]))
            else:
                for prompt in prompts:
                    group.create_task(user(http, prompt))
        seconds = time.perf_counter() - began
    return Traffic(ttft_seconds=tuple(times), failed=failed, seconds=seconds)


def main() -> None:
    """Send the traffic and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint")
    parser.add_argument("--rate", type=float, required=True, help="requests a second; 0 keeps 32 in flight")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps(asdict(asyncio.run(
        _traffic(given.endpoint, rate=given.rate, n=given.requests, seed=given.seed)
    ))))  # fmt: skip


if __name__ == "__main__":
    main()
