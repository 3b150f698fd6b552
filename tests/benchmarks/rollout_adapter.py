"""Adapter promotion and roll-back under steady traffic, on a real vLLM server with the plugin.

``python -m tests.benchmarks.rollout_adapter`` prints its figures as one JSON object; ``rollout`` runs it among others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from deploy.vllm.adapter import VllmAdapterDeployer
from deploy.vllm.replica import Replica
from tests.plugin_host import KEY, PUBLIC, PluginHost
from tests.traffic import Traffic

__all__ = ["ASKED", "flips", "measure"]

ASKED: Mapping[str, Any] = {
    "model": PUBLIC, "messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 8, "temperature": 0,
    "ignore_eos": True,
}  # fmt: skip


async def flips(
    host: PluginHost, deployer: VllmAdapterDeployer, traffic: Traffic, *, rounds: int, between: int = 12
) -> dict[str, object]:
    """Promote one release and the other by turns, ask the plugin for one roll-back, and look at every answer.

    A flip is the deployer's whole ``promote`` of a release that is staged: verified files, one token, the record on
    disk. An answer is wrong where it names another release than the one whose flip had returned when it was asked.

    Returns:
        ``adapter_failed_requests``, ``adapter_flip_seconds`` (the longest), ``adapter_wrong_release_answers``,
        ``rollback_seconds`` (the longest of the promotions back and of the plugin's own verb), ``adapter_answers``.
    """
    times: list[tuple[float, float, str]] = []
    took: dict[str, list[float]] = {"flip": [], "back": []}
    await deployer.promote(host.b)
    await deployer.promote(host.a)
    began = time.monotonic()
    await traffic.more(between)
    for turn in range(2 * rounds):
        release = (host.b, host.a)[turn % 2]
        times.append((began, asked := time.monotonic(), (host.a, host.b)[turn % 2].id))
        await deployer.promote(release)
        began = time.monotonic()
        took[("flip", "back")[turn % 2]].append(began - asked)
        await traffic.more(between)
    times.append((began, asked := time.monotonic(), host.a.id))
    await roll_back(host)
    began = time.monotonic()
    took["back"].append(began - asked)
    await traffic.more(between)
    times.append((began, time.monotonic(), host.b.id))
    return {
        "adapter_failed_requests": traffic.failed(),
        "adapter_flip_seconds": round(max(took["flip"]), 3),
        "adapter_wrong_release_answers": traffic.wrong(times),
        "rollback_seconds": round(max(took["back"]), 3),
        "adapter_answers": len(traffic.answers),
    }


async def roll_back(host: PluginHost) -> None:
    """Go back by the plugin's own verb: no patcher, no store, no desired state."""
    replica = Replica(
        host.url, http=lambda: httpx.AsyncClient(timeout=60, verify=False),
        headers={"Authorization": f"Bearer {KEY}"}, token=lambda: host.token,
    )  # fmt: skip
    state = await replica.state()
    await replica.rollback(fence=state.fence, expect=state.active)


async def measure(folder: Path, *, rounds: int) -> dict[str, object]:
    """Start a server, measure, end it."""
    host = PluginHost.make(folder)
    host.start()
    try:
        await host.first_answer()
        async with host.users() as users, Traffic(users, ASKED) as traffic:
            return await flips(host, host.deployer(), traffic, rounds=rounds)
    finally:
        host.kill()


def main() -> None:
    """Print the JSON object."""
    parser = argparse.ArgumentParser(description="Measure adapter flips and roll-backs under traffic.")
    parser.add_argument("--rounds", type=int, default=10, help="promotions there and back")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alignd-rollout-") as folder:
        print(json.dumps(asyncio.run(measure(Path(folder), rounds=given.rounds))))


if __name__ == "__main__":
    main()
