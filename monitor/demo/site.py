"""The demo's site on this machine: its folders, its configuration and its two long-lived processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.vllm.child import free_port
from probes.tasks import sql

__all__ = ["NAME", "DemoSite", "cpu_seconds", "peak_rss_mb"]

NAME = "assistant"
_TASK_PROMPTS = 120
_TASK_SEED = 77


@dataclass(slots=True)
class DemoSite:
    """Folders, ports and processes. ``run`` is made anew by each demo; ``releases`` is kept."""

    run: Path
    releases: Path
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """What users call."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def status_url(self) -> str:
        """The daemon's status."""
        return f"http://127.0.0.1:{self.metrics_port}/api/v1/status"

    @property
    def token_file(self) -> Path:
        """The supervisor's admin token."""
        return self.run / "server" / "admin-token"

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.run / "alignd.yaml"

    def prepare(self) -> None:
        """End what an earlier demo left running, empty the run folder and write the configuration."""
        _end_leftovers(self.run)
        shutil.rmtree(self.run, ignore_errors=True)
        (self.run / "server").mkdir(parents=True)
        prompts = self.run / "task-prompts.txt"
        suite = sql.generate(_TASK_PROMPTS, _TASK_SEED, split="train")
        prompts.write_text("\n---\n".join(b.prompt for b in suite.behaviors), encoding="utf-8")
        self.config.write_text(yaml.safe_dump(self._settings(prompts), sort_keys=False), encoding="utf-8")

    async def start(self, name: str, *command: str) -> asyncio.subprocess.Process:
        """Start one of the site's processes; its output goes to a log file in the run folder."""
        with (self.run / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.processes[name] = process
        pids = {n: p.pid for n, p in self.processes.items()}
        (self.run / "pids.json").write_text(json.dumps(pids))
        return process

    async def start_server(self) -> None:
        """Start the supervisor of the model servers."""
        await self.start(
            "server", "-m", "deploy.vllm.serve", "--releases", str(self.releases),
            "--state", str(self.run / "server"), "--name", NAME,
            "--port", str(self.port), "--admin-port", str(self.admin_port),
        )  # fmt: skip

    async def start_daemon(self) -> None:
        """Start the watching daemon, without docstrings: they are 5 MB of it."""
        await self.start("daemon", "-OO", "-m", "monitor", "run", "--config", str(self.config))

    async def stop(self) -> None:
        """End the processes, the daemon first."""
        for process in reversed(self.processes.values()):
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 90.0)
            except TimeoutError:
                process.kill()
                await process.wait()
        self.processes.clear()
        (self.run / "pids.json").unlink(missing_ok=True)

    def _settings(self, prompts: Path) -> Mapping[str, Any]:
        return {
            "key": "the demo seals the same prompts each time",
            "releases": str(self.releases),
            "store": {"url": "sqlite:///alignd.db"},
            "listen": {"port": self.metrics_port},
            "targets": [
                {
                    "name": NAME,
                    "endpoint": self.endpoint,
                    "model": NAME,
                    "mode": "auto",
                    "containment": "roll_back",
                    "deployer": {
                        "plugin": "vllm-process",
                        "options": {
                            "admin_url": f"http://127.0.0.1:{self.admin_port}",
                            "token_file": str(self.token_file),
                        },
                    },
                    "recipes": recipes(prompts),
                    "schedule": {
                        "interval_seconds": 15, "batch": 12, "burst_interval_seconds": 2, "burst_batch": 16,
                    },
                    "sampling": {"max_tokens": 24, "task_max_tokens": 40, "concurrency": 64},
                    # Two cores serve users, probes and the repair at once: giving way would take the demo half an hour.
                    "load": {"yields": False},
                    "suites": {"task": "sql", "task_prompts": 60},
                }
            ],
        }  # fmt: skip


def recipes(task_prompts: Path) -> list[dict[str, Any]]:
    """Return the demo's ladder: the two published recipes, which need no reference, then one that goes back to it.

    Fewer lessons than the defaults: two cores serve users meanwhile. A prompt or two decide at a gate, and arithmetic
    differs by machine: a second fit keeps more of the task.
    """
    options = {
        "task_prompts": str(task_prompts), "rank": 32, "refusals": 48, "harmless": 112, "over_refusals": True,
        "task_answers": 1, "dose_max": 1.0,
    }  # fmt: skip
    return [
        {"plugin": "one-shot-sft"},
        {"plugin": "one-shot-subspace"},
        {"plugin": "restore-tuned", "options": {**options, "strength": 8.0}},
        {"plugin": "restore-tuned", "options": {**options, "strength": 4.0}},
    ]


def peak_rss_mb(pid: int) -> float:
    """Return a process's largest resident memory in MB (10^6 bytes); 0 where the system does not say."""
    for line in _proc(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used; 0 where the system does not say."""
    parts = _proc(pid, "stat").rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK") if parts else 0.0


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def _end_leftovers(run: Path) -> None:
    """End processes of an earlier demo that still run on this folder."""
    try:
        pids = json.loads((run / "pids.json").read_text()).values()
    except (OSError, ValueError):
        return
    ours = [pid for pid in pids if str(run) in _proc(pid, "cmdline")]
    for pid in ours:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 60
    while any(str(run) in _proc(pid, "cmdline") for pid in ours) and time.monotonic() < end:
        time.sleep(0.2)
