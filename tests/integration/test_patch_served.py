"""An adapter that vLLM loads at run time says what transformers says of the merged checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from remediation.checkpoints.chat import load
from tests.benchmarks.patch_served import computed, differences, server, texts, told, write_forms
from tests.tiny import served_checkpoint

TOLERANCE = 2e-3


async def test_a_run_time_adapter_is_the_merged_checkpoint(tmp_path: Path) -> None:
    """That vLLM and transformers agree on any merged checkpoint is shown in ``test_vllm``."""
    base = served_checkpoint(tmp_path / "base", seed=0)
    written = write_forms(base, tmp_path, rank=3, size=0.3, dtype=torch.float32)
    ids = texts(load(base))
    async with server(written.base, tmp_path / "logs", dtype="float32", lora_rank=8) as child:
        plain, patched = await told(child, ids), await told(child, ids, written.adapter)
    merged = computed(written.merged.path, ids, torch.float32)
    assert max(differences(patched, merged)) < TOLERANCE
    assert max(differences(plain, merged)) > 100 * TOLERANCE, "the adapter does something"
