"""Blue/green on real parts: two vLLM servers behind HAProxy, under steady traffic.

``python -m tests.benchmarks.rollout_bluegreen`` prints its figures as one JSON object; ``rollout`` runs it among
others. Each answer names the release that gave it; one asked for after a promotion had returned must be by the promoted
one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.haproxy_host import haproxy
from tests.traffic import Traffic
from tests.vllm_host import NAME, Host

__all__ = ["measure"]

_ASKED: Mapping[str, Any] = {
    "model": NAME, "messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 16, "temperature": 0,
    "ignore_eos": True,
}  # fmt: skip


async def measure(folder: Path, *, rounds: int = 10) -> dict[str, object]:
    """Promote to and fro under traffic.

    Args:
        folder: For store, state and logs.
        rounds: Promotions there, each with a roll-back.

    Returns:
        ``bluegreen_failed_requests``, ``bluegreen_wrong_release_answers``, ``bluegreen_answers``;
        ``bluegreen_flip_seconds`` and ``bluegreen_rollback_seconds``, the longest, with their medians.
    """
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/bin")
    if program is None:
        raise SystemExit("rollout_bluegreen: HAProxy is not installed; it is Debian's package haproxy")
    async with haproxy(program) as proxy:
        host = Host.make(folder)
        host.options = ("--front", "haproxy", "--haproxy-socket", str(proxy.socket))
        url = f"http://127.0.0.1:{proxy.port}/v1"
        try:
            await host.serve(host.a)
            async with (
                httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as users,
                Traffic(users, _ASKED, named_by="system_fingerprint") as traffic,
            ):
                return await _flips(host, traffic, rounds)
        finally:
            await asyncio.to_thread(host.end)


async def _flips(host: Host, traffic: Traffic, rounds: int, *, between: int = 20) -> dict[str, object]:
    steps: list[tuple[float, float, str]] = []
    took: dict[str, list[float]] = {"flip": [], "rollback": []}
    began = time.monotonic()
    await traffic.more(between)
    await host.deployer.stage(host.b)
    for turn in range(2 * rounds):
        steps.append((began, asked := time.monotonic(), (host.a, host.b)[turn % 2].id))
        await (host.deployer.roll_back() if turn % 2 else host.deployer.promote(host.b))
        began = time.monotonic()
        took[("flip", "rollback")[turn % 2]].append(began - asked)
        await traffic.more(between)
    steps.append((began, time.monotonic(), host.a.id))
    return {
        "bluegreen_failed_requests": traffic.failed(), "bluegreen_wrong_release_answers": traffic.wrong(steps),
        "bluegreen_answers": len(traffic.answers),
        **{f"bluegreen_{verb}_seconds": round(max(seconds), 3) for verb, seconds in took.items()},
        **{f"bluegreen_{verb}_seconds_median": round(statistics.median(seconds), 3) for verb, seconds in took.items()},
    }  # fmt: skip


def main() -> None:
    """Print the JSON object."""
    with tempfile.TemporaryDirectory(prefix="alignd-rollout-") as folder:
        print(json.dumps(asyncio.run(measure(Path(folder)))))


if __name__ == "__main__":
    main()
