"""Write a patched model as a full checkpoint: whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from deploy.checkpoint import MANIFEST, new_folder
from remediation.checkpoints.chat import ChatModel
from remediation.errors import PatchFailed

__all__ = ["drift_removed", "require_finite", "write_model"]

_WEIGHTS = (".safetensors", ".safetensors.index.json")


def write_model(chat: ChatModel, *, like: Path, output: Path) -> None:
    """Write weights in bfloat16 beside copies of the other files of ``like`` (tokenizer, configuration).

    Raises:
        PatchFailed: A weight is not finite.
        CheckpointError: The disk is full or the place can't be written; nothing is left.
    """
    require_finite(chat, "the patched model")
    with new_folder(output) as folder:
        chat.model.bfloat16().save_pretrained(str(folder))
        chat.model.float()
        for file in sorted(like.iterdir()):
            if file.is_file() and not file.name.endswith(_WEIGHTS) and file.name != MANIFEST:
                shutil.copyfile(file, folder / file.name)


def require_finite(chat: ChatModel, what: str) -> None:
    """Refuse NaN and infinite weights.

    Raises:
        PatchFailed: Names the first such parameter.
    """
    for name, parameter in chat.model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise PatchFailed(f"{what} holds NaN or infinite values in {name}; train or copy it again")


@torch.no_grad()
def drift_removed(patched: ChatModel, drifted: ChatModel, good: ChatModel) -> float:
    """1 - |W_p - W_good|^2 / |W_d - W_good|^2 over all linear modules; 1 is all of the drift, 0 none."""
    left = all_of_it = 0.0
    p, d, g = (c.linears() for c in (patched, drifted, good))
    for name in g:
        left += float((p[name].weight - g[name].weight).square().sum())
        all_of_it += float((d[name].weight - g[name].weight).square().sum())
    return 1 - left / all_of_it if all_of_it else 0.0
