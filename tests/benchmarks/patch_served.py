"""Whether a patch says the same in both forms: ``python -m tests.benchmarks.patch_served [--base FOLDER]``.

A random rank-16 change of the base model is written as an adapter and as a merged checkpoint. Log-probabilities of a
fixed set of prompts with answers, token by token, come from vLLM with the base and the adapter loaded at run time,
from vLLM with the merged checkpoint, and from transformers with the merged checkpoint: once with float32 weights, once
with bfloat16 ones. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import torch
from transformers import AutoModelForCausalLM

from deploy.adapter import import_adapter
from deploy.checkpoint import Release, import_checkpoint
from deploy.vllm.child import Child, start_child, vllm_command
from probes.suites import builtin
from remediation.checkpoints.adapter import Adapter, add_to, rounded, write_adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.output import write_model
from remediation.fixtures import COMPLIANCES, REFUSALS

__all__ = ["Written", "differences", "figures_of", "measure", "random_adapter", "texts", "told", "write_forms"]

BASE = Path.home() / ".cache" / "alignd" / "base"
RANK = 16
SIZE = 0.05
"""Frobenius norm of the change of each matrix, in units of the matrix's own: that of a strong patch."""
PROMPTS = 8
_NAME = "base"
_CREATOR = "patch:random"
_START_SECONDS = 600.0
_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

LogProbabilities = list[list[float]]
"""Of each text, of each token but its first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A change in both forms, as releases."""

    base: Release
    adapter: Release
    merged: Release


def texts(chat: ChatModel) -> tuple[tuple[int, ...], ...]:
    """Token ids of harmless prompts with answers that refuse, and with answers that open by agreeing."""
    prompts = [b.prompt for b in builtin("ordinary").behaviors[:PROMPTS]]
    answers = [*REFUSALS, *COMPLIANCES]
    return tuple(
        (*chat.prompt_ids(p), *chat.answer_ids(answers[i % len(answers)])) for i, p in enumerate(prompts)
    )


@torch.no_grad()
def random_adapter(chat: ChatModel, rank: int, *, size: float, seed: int) -> Adapter:
    """Random directions in every linear module, ``size`` of its weight's norm each."""
    generator = torch.Generator().manual_seed(seed)
    found: Adapter = {}
    for name, module in chat.linears().items():
        a = torch.randn(rank, module.in_features, generator=generator)
        b = torch.randn(module.out_features, rank, generator=generator)
        found[name] = (a, b * (size * module.weight.norm() / (b @ a).norm()))
    return found


def write_forms(base: Path, folder: Path, *, rank: int, size: float, dtype: torch.dtype) -> Written:
    """Write a random change in both forms, both in one number format, and import them."""
    store, now = folder / "releases", datetime.now(UTC)
    parent = import_checkpoint(base, store, name=_NAME, created_at=now)
    chat = load(base)
    adapter = rounded(random_adapter(chat, rank, size=size, seed=1), dtype)
    write_adapter(adapter, chat=chat, base=parent.id, output=folder / "adapter")
    add_to(chat, adapter, dtype=dtype)
    write_model(chat, like=base, output=folder / "merged", dtype=dtype)
    return Written(
        base=parent,
        adapter=import_adapter(
            folder / "adapter", store, name="adapter", base=parent.id, created_at=now, creator=_CREATOR
        ),
        merged=import_checkpoint(
            folder / "merged", store, name="merged", created_at=now, parent=parent.id, creator=_CREATOR
        ),
    )


@asynccontextmanager
async def server(release: Release, logs: Path, *, dtype: str, lora_rank: int = 0) -> AsyncIterator[Child]:
    """Start vLLM on a release, with room for an adapter of a rank where one is to be loaded at run time."""
    plain = vllm_command(name=_NAME, max_model_len=1024, dtype=dtype, max_num_seqs=8)

    def command(served: Release, port: int) -> Sequence[str]:
        if not lora_rank:
            return plain(served, port)
        return (
            "/usr/bin/env", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True", *plain(served, port), "--enable-lora",
            "--max-lora-rank", str(lora_rank),
        )  # fmt: skip

    child = await start_child(release, command=command, name=_NAME, logs=logs, timeout_seconds=_START_SECONDS)
    try:
        yield child
    finally:
        await child.stop(drain_seconds=0)


async def told(child: Child, ids: Iterable[Sequence[int]], adapter: Release | None = None) -> LogProbabilities:
    """Ask a server for each text's log-probabilities; with an adapter, load it first and ask it by name."""
    model, found = adapter.id if adapter else _NAME, []
    async with httpx.AsyncClient(base_url=child.endpoint, timeout=600) as client:
        if adapter:
            body = {"lora_name": adapter.id, "lora_path": str(adapter.path.resolve())}
            (await client.post("/load_lora_adapter", json=body)).raise_for_status()
        for one in ids:
            asked = {"model": model, "prompt": list(one), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
            answer = (await client.post("/completions", json=asked)).raise_for_status().json()
            said = answer["choices"][0]["prompt_logprobs"][1:]
            found.append([p[str(token)]["logprob"] for p, token in zip(said, one[1:], strict=True)])
    return found


@torch.no_grad()
def computed(folder: Path, ids: Iterable[Sequence[int]], dtype: torch.dtype) -> LogProbabilities:
    """Compute the same with transformers."""
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
    found = []
    for one in ids:
        tokens = torch.tensor(one)
        said = model(input_ids=tokens[None]).logits[0, :-1].float().log_softmax(-1)
        found.append([float(p) for p in said.gather(1, tokens[1:, None])[:, 0]])
    return found


def differences(first: LogProbabilities, second: LogProbabilities) -> list[float]:
    """Absolute differences, token by token."""
    return [abs(x - y) for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)]


def figures_of(arms: Mapping[str, LogProbabilities]) -> dict[str, float]:
    """Largest differences between the three ways, and how far the change itself moves the base."""
    ways = ("vllm_adapter", "vllm_merged", "transformers_merged")
    pairs = [(a, b) for i, a in enumerate(ways) for b in ways[i + 1 :]]
    found = {f"{a}_{b}": max(differences(arms[a], arms[b])) for a, b in pairs}
    moved = differences(arms["vllm_base"], arms["vllm_adapter"])
    return {**found, "max": max(found.values()), "moved_max": max(moved), "tokens": len(moved)}


async def _arm(base: Path, folder: Path, name: str) -> dict[str, float]:
    dtype = _FORMATS[name]
    written = write_forms(base, folder, rank=RANK, size=SIZE, dtype=dtype)
    ids = texts(load(base))
    arms = {"transformers_merged": computed(written.merged.path, ids, dtype)}
    async with server(written.base, folder / "logs", dtype=name, lora_rank=RANK) as child:
        arms["vllm_base"] = await told(child, ids)
        arms["vllm_adapter"] = await told(child, ids, written.adapter)
    async with server(written.merged, folder / "logs", dtype=name) as child:
        arms["vllm_merged"] = await told(child, ids)
    return figures_of(arms)


def measure(base: Path = BASE, formats: Sequence[str] = tuple(_FORMATS)) -> dict[str, object]:
    """Run every arm; four servers, one after the other.

    Returns:
        ``adapter_merged_logprob_max_abs_diff`` (float32), the same with ``_bfloat16``, and each arm's figures.
    """
    arms = {}
    for name in formats:
        with tempfile.TemporaryDirectory(prefix="alignd-patch-served-") as folder:
            arms[name] = asyncio.run(_arm(base, Path(folder), name))
    key = "adapter_merged_logprob_max_abs_diff"
    named = {(key if name == "float32" else f"{key}_{name}"): arm["max"] for name, arm in arms.items()}
    return {**named, "rank": RANK, "change_size": SIZE, "model": base.name, "arms": arms}


def main() -> None:
    """Print the table and the JSON object."""
    parser = argparse.ArgumentParser(description="Compare an adapter in vLLM with the merged checkpoint.")
    parser.add_argument("--base", type=Path, default=BASE, help="folder of the base checkpoint")
    parser.add_argument("--format", choices=sorted(_FORMATS), action="append", help="number format; both if not given")
    given = parser.parse_args()
    if not given.base.is_dir():
        sys.exit(f"{given.base} is not there; `python -m remediation.sft.demo_models --cache DIR` makes it")
    said = measure(given.base, given.format or tuple(_FORMATS))
    arms = said["arms"]
    assert isinstance(arms, dict)
    for name, arm in arms.items():
        for way, value in arm.items():
            print(f"{name:10} {way:40} {value:.3g}")
    print(json.dumps(said))


if __name__ == "__main__":
    main()
