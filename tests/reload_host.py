"""A real vLLM server whose weights change in place, with its deployer, its users and its log-probabilities."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deploy.canary import TEXTS, take_canary
from deploy.checkpoint import Release, import_checkpoint
from deploy.vllm.child import free_port
from deploy.vllm.reload import Options, ReloadDeployer
from deploy.vllm.reload_journal import Journal
from tests.unit.deploy.test_checkpoint import NOW

__all__ = ["NAME", "Answer", "ReloadHost"]

NAME = "tiny"
ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 600.0

Answer = tuple[int, str, str]
"""Status, text, and the release that the answer names."""


@dataclass
class ReloadHost:
    """The server as a process of its own; the scratch server belongs to the deployer, and to one event loop."""

    folder: Path
    first: Release
    second: Release
    dtype: str
    more: Sequence[str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        options = Options(
            url=self.url, model=NAME, releases=self.folder / "store", state=self.state, scratch_arguments=self.more
        )
        self.state.mkdir()
        self.options = options
        self.deployer = ReloadDeployer(options)

    @staticmethod
    def make(
        folder: Path, first: Path, second: Path, *, dtype: str = "float32",
        more: Sequence[str] = ("--max-model-len", "512", "--max-num-seqs", "8"),
    ) -> ReloadHost:  # fmt: skip
        """Take two checkpoints of one architecture."""
        store = folder / "store"
        one, two = (import_checkpoint(p, store, name=n, created_at=NOW) for n, p in (("a", first), ("b", second)))
        return ReloadHost(folder=folder, first=one, second=two, dtype=dtype, more=tuple(more))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    async def start(self) -> None:
        """Start the server with what is desired, the first release to begin with, and wait until it answers."""
        words = (
            sys.executable, "-m", "deploy.vllm.reload_server", "--releases", str(self.folder / "store"),
            "--state", str(self.state), "--name", NAME, "--port", str(self.port), "--dtype", self.dtype,
            "--first", self.first.id, *self.more,
        )  # fmt: skip
        ours = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
        log = self.folder / "server.log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                words, cwd=ROOT, stdout=out, stderr=out, start_new_session=True, env={**os.environ, **ours}
            )
        end = time.monotonic() + START_SECONDS
        while not await self._answers():
            assert self.process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            await asyncio.sleep(0.2)

    async def end(self) -> None:
        """End both servers."""
        await self.deployer.aclose()
        if self.process:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(120)

    def journal(self) -> Journal:
        """Return the newest change's journal."""
        found = Journal.read(self.state)
        assert found
        return found

    @asynccontextmanager
    async def traffic(self, *, users: int = 3) -> AsyncIterator[list[Answer]]:
        """Ask without a break; yields what was answered so far."""
        told: list[Answer] = []
        stop = asyncio.Event()

        async def user(http: httpx.AsyncClient) -> None:
            body = {"model": NAME, "prompt": "Name a river.", "max_tokens": 16, "temperature": 0, "ignore_eos": True}
            while not stop.is_set():
                try:
                    answer = await http.post("/v1/completions", json=body)
                    said = answer.json()
                    told.append((answer.status_code, said["choices"][0]["text"], said["system_fingerprint"]))
                except (httpx.HTTPError, ValueError, KeyError) as error:
                    told.append((0, repr(error), ""))

        async with httpx.AsyncClient(base_url=self.url, timeout=120, trust_env=False) as http:
            tasks = [asyncio.create_task(user(http)) for _ in range(users)]
            try:
                yield told
            finally:
                stop.set()
                await asyncio.gather(*tasks)

    async def far_from_transformers(self, release: Release) -> float:
        """Return the largest difference of log-probabilities between the server and transformers, in nats."""
        async with httpx.AsyncClient(base_url=f"{self.url}/v1", trust_env=False) as http:
            seen = await take_canary(http, model=NAME, release=release.id)
        tokenizer = AutoTokenizer.from_pretrained(release.path)
        model = AutoModelForCausalLM.from_pretrained(release.path, dtype=torch.float32)
        far = 0.0
        for text, tokens, values in zip(TEXTS, seen.tokens, seen.values, strict=True):
            ids = torch.tensor(tokenizer(text).input_ids)
            assert tokens == tuple(ids[1:].tolist())
            with torch.inference_mode():
                said = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
            far = max(far, float((said - torch.tensor(values)).abs().max()))
        return far

    async def _answers(self) -> bool:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            try:
                return (await http.get("/health")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False
