"""Blue/green on real parts: two vLLM servers behind HAProxy, under steady traffic.

``python -m tests.benchmarks.rollout_bluegreen`` prints the figures as one JSON object on its last line. Each answer
names the release that gave it; one asked for after a promotion had returned must be by the promoted one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.haproxy_host import haproxy
from tests.vllm_host import NAME, Host

__all__ = ["Traffic", "measure"]

_BODY = {"model": NAME, "prompt": "Name a river.", "max_tokens": 16, "temperature": 0, "ignore_eos": True}


@dataclass(slots=True)
class Traffic:
    """Users that ask without a pause, and what they got.

    Attributes:
        answers: Time of asking (monotonic seconds), HTTP status (0: no answer), release.
    """

    url: str
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def user(self) -> None:
        """Ask until it is over."""
        async with httpx.AsyncClient(timeout=120) as http:
            while not self.over.is_set():
                asked_at, status, release = time.monotonic(), 0, ""
                with suppress(httpx.HTTPError, ValueError):
                    answer = await http.post(self.url, json=_BODY)
                    status, release = answer.status_code, answer.json().get("system_fingerprint", "")
                self.answers.append((asked_at, status, release))

    async def more(self, n: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + n
        while len(self.answers) < wanted:
            await asyncio.sleep(0.02)


async def measure(folder: Path, *, users: int = 4, flips: int = 6) -> dict[str, float]:
    """Promote to and fro under traffic.

    Args:
        folder: For store, state and logs.
        users: Requests in flight.
        flips: Promotions and roll-backs between two releases that are up.

    Returns:
        Counts, and seconds of the slowest promotion.
    """
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/bin")
    if program is None:
        raise SystemExit("rollout_bluegreen: HAProxy is not installed")
    async with haproxy(program) as proxy:
        host = Host.make(folder)
        host.options = ("--front", "haproxy", "--haproxy-socket", str(proxy.socket))
        traffic = Traffic(f"http://127.0.0.1:{proxy.port}/v1/completions")
        try:
            return await _flips(host, traffic, users, flips)
        finally:
            await asyncio.to_thread(host.end)


async def _flips(host: Host, traffic: Traffic, users: int, flips: int) -> dict[str, float]:
    spans: list[tuple[float, float, str]] = []
    seconds: list[float] = []
    await host.serve(host.a)
    async with asyncio.TaskGroup() as group:
        for _ in range(users):
            group.create_task(traffic.user())
        await traffic.more(20)
        await host.deployer.stage(host.b)
        for i in range(flips):
            began, release = time.monotonic(), (host.b, host.a)[i % 2]
            await host.deployer.promote(release)
            promoted = time.monotonic()
            seconds.append(promoted - began)
            await traffic.more(20)
            # What was asked for just before the next promotion may be answered by the next release.
            spans.append((promoted, max(at for at, _, _ in traffic.answers), release.id))
        traffic.over.set()
    return {
        "bluegreen_requests": len(traffic.answers),
        "bluegreen_failed_requests": sum(status != 200 for _, status, _ in traffic.answers),
        "bluegreen_flip_seconds": round(max(seconds), 3),
        "bluegreen_wrong_release_answers": sum(
            said != release
            for since, until, release in spans
            for at, status, said in traffic.answers
            if since <= at <= until and status
        ),
    }


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(Path(folder)))))


if __name__ == "__main__":
    main()
