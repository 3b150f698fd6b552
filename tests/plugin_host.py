"""A real vLLM server with the plugin, on a tiny base and three adapters of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import torch
from pydantic import SecretStr

from deploy.adapter import import_adapter
from deploy.checkpoint import Release, import_checkpoint
from deploy.vllm.adapter import Options, VllmAdapterDeployer, make
from deploy.vllm.child import free_port
from remediation.checkpoints.adapter import rounded, write_adapter
from remediation.checkpoints.chat import load
from tests.benchmarks.patch_served import random_adapter
from tests.processes import in_session
from tests.tiny import served_checkpoint

__all__ = ["KEY", "PUBLIC", "PluginHost", "write_distribution"]

ROOT = Path(__file__).resolve().parents[1]
KEY, PUBLIC = "users-key", "tiny"
RANK = 8


def write_distribution(folder: Path) -> Path:
    """Write the metadata by which vLLM finds the plugin, as an installed wheel would have them."""
    project = tomllib.loads((ROOT / "deploy" / "vllm_plugin" / "pyproject.toml").read_text())["project"]
    info = folder / f"alignd_vllm-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"[{group}]\n{name} = {at}" for group, e in project["entry-points"].items() for name, at in e.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


def adapter_of(base: Release, folder: Path, name: str, *, seed: int, rank: int = RANK, size: float = 0.3) -> Release:
    chat = load(base.path)
    adapter = rounded(random_adapter(chat, rank, size=size, seed=seed), torch.float32)
    write_adapter(adapter, chat=chat, base=base.id, output=folder / "made" / name)
    return import_adapter(
        folder / "made" / name, folder / "store", name=name, base=base.id, created_at=datetime.now(UTC),
        creator="patch:random",
    )  # fmt: skip


@dataclass
class PluginHost:
    """The server process; ``changed`` has a file that is not what its manifest says."""

    folder: Path
    base: Release
    a: Release
    b: Release
    changed: Release
    port: int
    process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def make(folder: Path) -> PluginHost:
        source = served_checkpoint(folder / "base", seed=0)
        base = import_checkpoint(source, folder / "store", name="base", created_at=datetime.now(UTC))
        a, b, changed = (adapter_of(base, folder, n, seed=i) for i, n in enumerate(("a", "b", "changed"), start=1))
        with (changed.path / "adapter_model.safetensors").open("r+b") as weights:
            weights.seek(-1, os.SEEK_END)
            weights.write(b"\1")
        write_distribution(folder / "installed")
        return PluginHost(folder=folder, base=base, a=a, b=b, changed=changed, port=free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def token(self) -> str:
        return (self.folder / "state" / "admin-token").read_text()

    def deployer(self, **other: object) -> VllmAdapterDeployer:
        options = {
            "replicas": (self.url,), "state_file": self.folder / "wanted.json", "api_key": SecretStr(KEY),
            "token_file": self.folder / "state" / "admin-token", "fence": "borrow",
        }  # fmt: skip
        return make(Options.model_validate({**options, **other}))

    def users(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=120, headers={"Authorization": f"Bearer {KEY}"})

    def start(self, environment: Mapping[str, str] | None = None, **other: str) -> subprocess.Popen[bytes]:
        """Start the server; ``other`` changes or adds options of its command line, ``_`` for ``-``."""
        options = {
            "host": "127.0.0.1", "port": str(self.port), "model": str(self.base.path), "max-loras": "2",
            "max-lora-rank": str(RANK), "max-model-len": "1024", "max-num-seqs": "16", "dtype": "float32",
            "api-key": KEY, "shutdown-timeout": "5",
        }  # fmt: skip
        options |= {name.replace("_", "-"): value for name, value in other.items()}
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enable-lora", "--enforce-eager"]
        command += [part for name, value in options.items() for part in (f"--{name}", value)]
        command += ["--served-model-name", self.base.id, PUBLIC]
        env = {
            **os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_WAIT_POLICY": "PASSIVE",
            "VLLM_PLUGINS": "alignd", "ALIGND_VLLM_RELEASES": str(self.folder / "store"),
            "ALIGND_VLLM_STATE": str(self.folder / "state"),
            "PYTHONPATH": f"{self.folder / 'installed'}:{ROOT / 'deploy' / 'vllm_plugin'}", **(environment or {}),
        }  # fmt: skip
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=out, stderr=out, start_new_session=True
            )
        return self.process

    async def first_answer(self, *, seconds: float = 400.0) -> httpx.Response:
        """The first answer of any kind to a request for the public name, from the moment of the start."""
        assert self.process
        end = time.monotonic() + seconds
        async with self.users() as users:
            while time.monotonic() < end:
                assert self.process.poll() is None, f"the server ended: {self.log[-2000:]}"
                with suppress(httpx.TransportError):
                    return await users.post("/completions", json={"model": PUBLIC, "prompt": "Hi", "max_tokens": 1})
                await asyncio.sleep(0.05)
        raise AssertionError(f"no answer: {self.log[-2000:]}")

    def kill(self) -> None:
        """End every process of the server at once, as a power cut would."""
        if self.process is None:
            return
        for pid in (self.process.pid, *in_session(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        end = time.monotonic() + 30
        while in_session(self.process.pid) and time.monotonic() < end:
            time.sleep(0.05)
