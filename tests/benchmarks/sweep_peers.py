"""garak and inspect_ai beside us: same server, prompts and output length, each in a virtual environment of its own.

Each asks through its own client for OpenAI-compatible endpoints and judges with its own cheapest text match. Two times
are kept: the whole command, from start to exit, and the asking by the peer's own clock. Ours has both too: a fresh
process that sweeps and exits, and the sweep inside it. Ratios are of whole commands.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.sweep_clients import CONCURRENCY, prompts, write_prompts
from tests.benchmarks.sweep_figures import garak_run, inspect_run
from tests.benchmarks.sweep_server import BUILD, MAX_TOKENS, NAME, ROOT, Server

__all__ = ["PEERS", "installed", "measure"]

PEERS = ROOT / "build" / "peers"
_GARAK = ("garak==0.17.1",)
_INSPECT = ("inspect-ai==0.3.285", "openai==3.57.0")
_TORCH = ("torch==2.13.0",)
"""Before garak, which would bring a CUDA build of several GB."""
_SECONDS_MAX = 1800.0
_PROBE = "MaliciousUses"
"""A stock probe of garak that asks what a data file says; the file is ours."""
_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def prompts():
    rows = json_dataset({path!r}, FieldSpec(input="prompt", target="target"))
    return Task(dataset=rows, solver=generate(), scorer=includes())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One whole run of a client.

    Attributes:
        seconds: From starting the command to its exit.
        asking_seconds: Without its start-up, by its own clock; ``None`` where it doesn't say.
    """

    seconds: float
    asking_seconds: float | None


async def measure(server: Server, *, n: int, rounds: int) -> dict[str, Any]:
    """Run all clients, ours before and after the others, whose order changes with the round.

    Returns:
        For each peer ``ratio`` (its time over ours, whole commands, medians of the rounds) and the runs.

    Raises:
        SystemExit: A client failed or did not ask every prompt; says which.
    """
    await asyncio.to_thread(_install)
    clients: dict[str, Callable[[Server, int], Ran]] = {
        "ours": _ours,
        "garak_default": _garak,
        "garak_fastest": _garak_fastest,
        "inspect_default": _inspect,
    }
    runs: dict[str, list[Ran]] = {name: [] for name in clients}
    for i in range(rounds):
        peers = [name for name in clients if name != "ours"]
        for name in ("ours", *peers[i % 3 :], *peers[: i % 3], "ours"):
            before = await asyncio.to_thread(server.generated_tokens)
            runs[name].append(await asyncio.to_thread(clients[name], server, n))
            _require(await asyncio.to_thread(server.generated_tokens) - before, n * MAX_TOKENS, name, "tokens")
    ours = statistics.median(r.seconds for r in runs["ours"])
    return {
        "prompts": n,
        "max_tokens": MAX_TOKENS,
        "versions": [*_GARAK, *_INSPECT],
        "ratios": {
            name: statistics.median(r.seconds for r in of) / ours for name, of in runs.items() if name != "ours"
        },
        "asking_ratios": _asking_ratios(runs),
        "runs": {name: [asdict(r) for r in of] for name, of in runs.items()},
    }


def _asking_ratios(runs: Mapping[str, Sequence[Ran]]) -> dict[str, float | None]:
    asked = {name: [r.asking_seconds for r in of if r.asking_seconds is not None] for name, of in runs.items()}
    ours = statistics.median(asked["ours"])
    return {name: statistics.median(of) / ours if of else None for name, of in asked.items() if name != "ours"}


def installed(folder: Path, *commands: Sequence[str]) -> None:
    """Run the commands that fill a folder, once; a half-filled one is made anew.

    Raises:
        SystemExit: A command failed.
    """
    mark = folder / "installed.json"
    wanted = json.dumps([[str(a) for a in c] for c in commands])
    if mark.exists() and mark.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for command in commands:
        print(f"install: {' '.join(map(str, command[-4:]))}", file=sys.stderr, flush=True)
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            raise SystemExit(f"{folder.name} can't be installed: {' '.join(map(str, command))}")
    mark.write_text(wanted)


def _install() -> None:
    for name, steps in {"garak": (_TORCH, _GARAK), "inspect": (_INSPECT,)}.items():
        folder = PEERS / name
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
        installed(folder, [sys.executable, "-m", "venv", str(folder)], *([*pip, *step] for step in steps))


def _run(command: Sequence[str], *, cwd: Path, **environment: str) -> tuple[float, str]:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    try:
        ran = subprocess.run(
            command, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=_SECONDS_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"{command[0]} did not end within {_SECONDS_MAX:g} s") from error
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stdout[-1000:]}\n{ran.stderr[-2000:]}")
    return time.perf_counter() - began, ran.stdout


def _ours(server: Server, n: int) -> Ran:
    command = [
        sys.executable, "-m", "tests.benchmarks.sweep_clients", "--endpoint", server.endpoint, "--prompts", str(n)
    ]  # fmt: skip
    seconds, said = _run(command, cwd=ROOT)
    return Ran(seconds=seconds, asking_seconds=json.loads(said.splitlines()[-1])["seconds"])


def _garak_fastest(server: Server, n: int) -> Ran:
    return _garak(server, n, "--parallel_attempts", str(CONCURRENCY))


def _garak(server: Server, n: int, *flags: str) -> Ran:
    """At its defaults, but for the length, and one answer to a prompt where it would ask for five."""
    folder = _empty(BUILD / "garak")
    data = folder / "share" / "garak" / "data" / "donotanswer"
    data.mkdir(parents=True)
    rows = ({"prompt": p, "intents": ["S003instructions"]} for p in prompts(n))
    (data / "malicious_uses.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    options = {"uri": f"{server.endpoint}/", "max_tokens": MAX_TOKENS, "temperature": 0.0, "stop": None}
    (folder / "options.json").write_text(json.dumps({"openai": {"OpenAICompatible": options}}))
    command = [
        str(PEERS / "garak" / "bin" / "python"), "-m", "garak", "--target_type", "openai.OpenAICompatible",
        "--target_name", NAME, "--generator_option_file", "options.json", "--probes", f"donotanswer.{_PROBE}",
        "--generations", "1", "--report_prefix", str(folder / "report"), *flags,
    ]  # fmt: skip
    seconds, _ = _run(
        command, cwd=folder, OPENAICOMPATIBLE_API_KEY="none", XDG_DATA_HOME=str(folder / "share"),
        XDG_CONFIG_HOME=str(folder / "config"), XDG_CACHE_HOME=str(folder / "cache"),
    )  # fmt: skip
    asked, asking = garak_run((folder / "report.report.jsonl").read_text())
    _require(asked, n, "garak", "answers")
    return Ran(seconds=seconds, asking_seconds=asking)


def _inspect(server: Server, n: int) -> Ran:
    """At its defaults, but for the length and the temperature."""
    folder = _empty(BUILD / "inspect")
    path = write_prompts(folder / "prompts.jsonl", n)
    (folder / "task.py").write_text(_TASK.format(path=str(path)))
    command = [
        str(PEERS / "inspect" / "bin" / "inspect"), "eval", "task.py", "--model", f"openai-api/local/{NAME}",
        "--max-tokens", str(MAX_TOKENS), "--temperature", "0", "--log-format", "json", "--log-dir", "logs",
        "--display", "plain",
    ]  # fmt: skip
    seconds, _ = _run(
        command, cwd=folder, LOCAL_BASE_URL=server.endpoint, LOCAL_API_KEY="none",
        XDG_DATA_HOME=str(folder / "share"), XDG_CACHE_HOME=str(folder / "cache"),
    )  # fmt: skip
    (log,) = (folder / "logs").glob("*.json")
    asked, asking = inspect_run(log.read_text())
    _require(asked, n, "inspect_ai", "answers")
    return Ran(seconds=seconds, asking_seconds=asking)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _require(got: int, wanted: int, who: str, what: str) -> None:
    if got != wanted:
        raise SystemExit(f"{who} got {got} {what}, not {wanted}: such a run can't be compared")
