"""A one-shot patch of an 8B model on a GPU: ``python -m tests.benchmarks.patch_gpu`` prints a table, JSON last.

A model of Llama-3.1-8B's shape with random bfloat16 weights is written as a checkpoint, into memory unless told, and
patched as ``one-shot-subspace`` does it: read, factors of 224 matrices, their singular triples and a step, four times
(a random model never reaches the loss that would end it sooner), then the dose and the adapter on disk. Beside it, what
a backward pass keeps above a forward pass, and one matrix's factors against ``linalg.svd``, ``svd_lowrank`` and what
PEFT's LoRA-GA does, all on the GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from remediation.checkpoints.adapter import write_adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.repair import INSTANCE
from remediation.subspace.capture import capture, examples_of, losses
from remediation.subspace.descent import Descent, DescentOptions, Goal, descend
from remediation.subspace.factor import Factors, factored_svd
from tests.benchmarks.patch_speed import RANK, SIDE, TOKENS, lora_ga, shape_8b

__all__ = ["measure"]

_ROUNDS, _WARM = 3, 2


def measure(tokenizer: Path, *, scratch: Path, layers: int = 32, device: str = "cuda") -> dict[str, Any]:
    """Seconds, bytes and ratios.

    Args:
        tokenizer: Folder of a chat model whose tokenizer's ids the shape has room for.
        scratch: Where the checkpoint is put meanwhile, 16 GB.
        layers: Decoder layers.

    Returns:
        ``whole_seconds`` of the process's first patch, of which ``load_seconds`` are reading;
        ``again_seconds``, the median without reading; ``memory_above_forward_gb``; ``speedup_linalg_svd_gpu``,
        ``speedup_svd_lowrank_gpu``, ``speedup_lora_ga_gpu``, ``factor_milliseconds_gpu``.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder, torch.device(device):
        checkpoint = Path(folder) / "model"
        parameters = _write(checkpoint, tokenizer, layers)
        began = time.perf_counter()
        chat = load(checkpoint, dtype=torch.bfloat16)
        torch.cuda.synchronize()
        loaded = time.perf_counter()
        found = _patched(chat, Path(folder) / "adapter-0")
        whole = time.perf_counter()
        again = [_seconds(partial(_patched, chat, Path(folder) / f"adapter-{i}")) for i in range(1, _ROUNDS + 1)]
        above, forward = _memory(chat)
        del chat
        torch.cuda.empty_cache()
        speeds = _speeds()
    return {
        "device": torch.cuda.get_device_name(), "parameters": parameters,
        "whole_seconds": round(whole - began, 2), "load_seconds": round(loaded - began, 2),
        "again_seconds": round(statistics.median(again), 2), "steps": found.steps,
        "memory_above_forward_gb": round(above / 1e9, 3), "memory_forward_gb": round(forward / 1e9, 2), **speeds,
    }  # fmt: skip


def _write(folder: Path, tokenizer: Path, layers: int) -> int:
    """Write random weights; returns how many."""
    from transformers import AutoTokenizer

    model = shape_8b(layers, tied=False)
    model.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True).save_pretrained(str(folder))
    count = sum(p.numel() for p in model.parameters())
    del model
    torch.cuda.empty_cache()
    return count


def _patched(chat: ChatModel, output: Path) -> Descent:
    found = descend(chat, Goal(learn=examples_of(chat, [INSTANCE])), DescentOptions(), progress=lambda _: None)
    write_adapter(found.adapter, chat=chat, base="drifted", output=output)
    return found


def _memory(chat: ChatModel) -> tuple[int, int]:
    """Peak bytes that taking factors needs above a forward pass, and that the forward pass needs above weights."""
    examples = examples_of(chat, [INSTANCE])
    rest = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    losses(chat, examples)
    forward = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    capture(chat, examples)
    return torch.cuda.max_memory_allocated() - forward, forward - rest


def _speeds() -> dict[str, float]:
    torch.manual_seed(0)
    decay = torch.logspace(0, -3, TOKENS)[:, None]
    d, x = torch.randn(TOKENS, SIDE) * decay, torch.randn(TOKENS, SIDE)
    formed = d.T @ x
    ours = _median(lambda: factored_svd(Factors(d=d, x=x), RANK), 20)
    return {
        "factor_milliseconds_gpu": round(1e3 * ours, 3),
        "speedup_linalg_svd_gpu": round(_median(lambda: torch.linalg.svd(formed), 3) / ours, 1),
        "speedup_svd_lowrank_gpu": round(
            _median(lambda: torch.svd_lowrank(formed, q=RANK + 8, niter=4), 10) / ours, 2
        ),
        "speedup_lora_ga_gpu": round(_median(lambda: lora_ga(d, x), 10) / ours, 2),
    }  # fmt: skip


def _median(work: Callable[[], object], runs: int) -> float:
    for _ in range(_WARM):
        work()
    return statistics.median(_seconds(work) for _ in range(runs))


def _seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path, help="folder of a chat model, SmolLM2's say, for its tokenizer")
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"), help="where to put 16 GB meanwhile")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU here")
    found = measure(given.tokenizer, scratch=given.scratch)
    bars = {"whole_seconds": "<= 10", "memory_above_forward_gb": "<= 1"}
    for name, figure in found.items():
        print(f"{name:<32} {bars.get(name, ''):<8} {figure}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
