"""One row in a process of its own, so that its peak memory is its own and nothing of it stays.

``python -m remediation.reproduce.row FOLDER ROW_NAME [MODEL_DIGEST DRIFTED_DIGEST]`` reads the run's settings in
``FOLDER``, runs the recipe, measures what it wrote, and writes the row by rename. Progress comes as JSON lines on
standard output.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deploy.checkpoint import check_checkpoint
from deploy.errors import DeployError
from probes.errors import ProbeError
from remediation.checkpoints.chat import ChatModel, load
from remediation.device import use
from remediation.errors import RemediationError
from remediation.patch import Patch, PatchRequest
from remediation.reproduce.asked import looks_of
from remediation.reproduce.evaluate import evaluate
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import NONE, ReproduceSettings, Row, RowKey, Sources, plan
from remediation.worker import perform

__all__ = ["looks_of", "make_row"]

Say = Callable[[str, float], None]
_RECIPE_SHARE = 0.5


def make_row(folder: ReproduceFolder, settings: ReproduceSettings, key: RowKey, sources: Sources, say: Say) -> Row:
    """Run a row's recipe and measure the result.

    Args:
        sources: Digests of the checkpoints as the run found them; a recipe refuses others.

    Raises:
        RemediationError: The recipe can't repair this checkpoint.
        DeployError: A checkpoint can't be used.
        ProbeError: A suite, task or judge can't be used.
    """
    looks = looks_of(settings, key)
    source, patch = settings.model if not key.attack else folder.drifted(key), None
    if key.attack and key.recipe != NONE:
        patch = _patch(folder, settings, key, sources, lambda stage, share: say(stage, share * _RECIPE_SHARE))
        source = patch.checkpoint
    spent = _peak_memory(settings.device)
    check_checkpoint(source)
    done = _RECIPE_SHARE if patch else 0.0
    figures = evaluate(
        _loaded(source, settings.device), looks, progress=lambda stage, share: say(stage, done + share * (1 - done))
    )
    row = Row(
        key=key, figures=figures, peak_memory_bytes=spent if patch else _peak_memory(settings.device),
        options=settings.options_of(key), device=settings.device, asked=looks.parts, sources=sources,
    )  # fmt: skip
    return replace(
        row, seconds=patch.seconds, rank=patch.rank, drift_removed=patch.drift_removed, screen=patch.screen,
        controls=patch.controls, recipe_figures=patch.figures,
    ) if patch else row  # fmt: skip


def _patch(folder: ReproduceFolder, settings: ReproduceSettings, key: RowKey, sources: Sources, say: Say) -> Patch:
    shutil.rmtree(folder.patched(key), ignore_errors=True)
    request = PatchRequest(
        incident="reproduce", recipe=key.plugin, drifted=folder.drifted(key), reference=settings.model,
        output=folder.patched(key), seed=key.seed, options=settings.options_of(key),
        parent_digest=sources.drifted, reference_digest=sources.model,
    )  # fmt: skip
    if _on_gpu(settings.device):
        torch.cuda.reset_peak_memory_stats()
    return perform(request, say)


def _loaded(folder: Path, device: str) -> ChatModel:
    """Load in float32 on the processor, as recipes do, and as stored on a GPU, as servers do."""
    if not _on_gpu(device):
        return load(folder)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", device_map=device, local_files_only=True
    )
    return ChatModel(model.eval(), AutoTokenizer.from_pretrained(str(folder), local_files_only=True))


def _on_gpu(device: str) -> bool:
    return device != "cpu"


def _peak_memory(device: str) -> int:
    if _on_gpu(device) and torch.cuda.is_available():
        return sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Make one row in this process."""
    folder, name = ReproduceFolder(Path(sys.argv[1])), sys.argv[2]
    settings, sources = folder.settings(), Sources(*sys.argv[3:5])
    key = next(k for k in plan(settings.attacks, settings.recipes, settings.seeds) if k.name == name)
    if settings.device.startswith("cuda"):
        use(settings.device)
    began = time.monotonic()

    def say(stage: str, share: float) -> None:
        print(json.dumps({"stage": stage, "share": round(share, 3)}), flush=True)

    try:
        row = make_row(folder, settings, key, sources, say)
    except (RemediationError, DeployError, ProbeError, torch.OutOfMemoryError) as error:
        row = Row(
            key=key, figures=None, error=" ".join(str(error).split()) or type(error).__name__,
            seconds=time.monotonic() - began, peak_memory_bytes=_peak_memory(settings.device),
            options=settings.options_of(key), device=settings.device,
        )  # fmt: skip
    folder.write(row)


if __name__ == "__main__":
    main()
