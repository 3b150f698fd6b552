"""The model server that all real parts of the benchmark ask: one vLLM process, with priorities and ``/metrics``.

Its model is the demo's base with the end of an answer taken away, so that each answer to each client has exactly as
many tokens as it asks for: no client gains by shorter answers, and none has to be told how to ignore the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from deploy.checkpoint import Release, import_checkpoint
from deploy.vllm.child import ChildCommand, start_child, vllm_command
from deploy.vllm.dtype import this_dtype

__all__ = ["BUILD", "MAX_TOKENS", "NAME", "Server", "base_model", "endless", "running"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "benchmark"
NAME = "assistant"
MAX_TOKENS = 32
"""Of every answer; a client that asks one prompt after the other takes seven minutes for 200 of them on two cores."""
_START_SECONDS = 300.0
_NEVER_SAID = "<gh_stars>"
"""A token of the vocabulary that a chat never brings about; it stands where the end of an answer stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server.

    Attributes:
        endpoint: Base URL that ends in ``/v1``.
        release: What it serves, as its fingerprint says.
        tokenizer: Folder of its checkpoint, for clients that count tokens themselves.
        dtype: The number format that it computes in.
    """

    endpoint: str
    release: str
    tokenizer: Path
    dtype: str

    def generated_tokens(self) -> int:
        """Return how many tokens it has given out since its start, to all clients, by its own count."""
        page = httpx.get(f"{self.endpoint.removesuffix('/v1')}/metrics", timeout=60).text
        lines = (line for line in page.splitlines() if line.startswith("vllm:generation_tokens_total"))
        return int(sum(float(line.rpartition(" ")[2]) for line in lines))


def base_model() -> Path:
    """Return the folder of the demo's base model, made as the demo makes it where it is missing.

    Raises:
        SystemExit: It can't be made; says why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "alignd"
    if not (cache / "base" / "config.json").exists():
        command = [sys.executable, "-m", "remediation.sft.demo_models", "--cache", str(cache)]
        made = subprocess.run(command, check=False, stdout=sys.stderr)
        if made.returncode:
            raise SystemExit(f"the model can't be made below {cache}; run `make demo` once, it says what is missing")
    return cache / "base"


def endless(base: Path, folder: Path) -> None:
    """Copy a checkpoint and take the end of an answer away.

    Args:
        base: A transformers folder.
        folder: Made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    number = next(t["id"] for t in tokens if t["content"] == _NEVER_SAID)
    changes: Mapping[str, Mapping[str, object]] = {
        "config.json": {"eos_token_id": number},
        "generation_config.json": {"eos_token_id": number},
        "tokenizer_config.json": {"eos_token": _NEVER_SAID},
    }
    for file, change in changes.items():
        said = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(said | change, indent=2))


@asynccontextmanager
async def running() -> AsyncIterator[Server]:
    """Serve the model until the block ends.

    Raises:
        StageError: vLLM did not come up; the message holds the last lines of its log.
    """
    endless(base_model(), BUILD / "model")
    release = import_checkpoint(BUILD / "model", BUILD / "releases", name="endless", created_at=datetime.now(UTC))
    dtype = this_dtype()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    child = await start_child(
        release, command=_command(dtype), name=NAME, logs=BUILD / "logs", timeout_seconds=_START_SECONDS
    )
    try:
        yield Server(endpoint=child.endpoint, release=release.id, tokenizer=release.path, dtype=dtype)
    finally:
        await asyncio.shield(child.stop(drain_seconds=5))


def _command(dtype: str) -> ChildCommand:
    """As the supervisor starts it, but scheduled by priority, and without what one client's prompts leave the next."""
    plain = vllm_command(name=NAME, max_model_len=2048, dtype=dtype, max_num_seqs=64)

    def command(release: Release, port: int) -> tuple[str, ...]:
        return (*plain(release, port), "--no-enable-prefix-caching")

    return command
