"""Write a patched model, as a full checkpoint or as an adapter: whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from deploy.adapter import PATCH_NOTE, base_of, name_of
from deploy.checkpoint import MANIFEST
from deploy.weights import tensors_of
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.disk import new_patch
from remediation.errors import PatchFailed
from remediation.patch import PatchRequest

__all__ = ["drift_removed", "patch_note", "require_finite", "require_same_parameters", "stored_dtype", "write_model"]

_WEIGHTS = (".safetensors", ".safetensors.index.json")
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_SHARD = "5GB"


def write_model(
    chat: ChatModel,
    *,
    like: Path,
    output: Path,
    dtype: torch.dtype | None = None,
    more: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write weights beside copies of the other files of ``like`` (tokenizer, configuration). The model stays as it is.

    Tensors that are one in memory, such as a tied head, are written once, as ``save_pretrained`` does.

    Args:
        dtype: Number format of the weights; that of ``like`` where it is not given.
        more: Writes further files into the folder.

    Raises:
        PatchFailed: A weight is not finite.
        CheckpointError: The disk is full or the place can't be written; nothing is left.
    """
    require_finite(chat, "the patched model")
    state = _cast(chat, dtype or stored_dtype(like))
    with new_patch(output, more) as folder:
        chat.model.save_pretrained(str(folder), state_dict=state, max_shard_size=_SHARD)
        for file in sorted(like.iterdir()):
            if file.is_file() and not file.name.endswith(_WEIGHTS) and file.name not in {MANIFEST, PATCH_NOTE}:
                shutil.copyfile(file, folder / file.name)


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the number format that most of a checkpoint's weights are stored in; bfloat16 where torch has no such.

    Raises:
        CheckpointError: The weights can't be read.
    """
    sizes: Counter[str] = Counter()
    for tensor in tensors_of(folder).values():
        sizes[tensor.dtype] += tensor.size
    return _DTYPES.get(max(sizes, key=lambda d: sizes[d], default=""), torch.bfloat16)


def patch_note(request: PatchRequest, *, rank: int) -> Callable[[Path], None]:
    """Return what writes the patch's provenance into its folder. It names no path, time or machine."""
    said = {
        "recipe": request.recipe, "incident": request.incident, "seed": request.seed, "form": request.form.value,
        "rank": rank, "parent": name_of(request.drifted), "parent_digest": request.parent_digest,
    }  # fmt: skip
    if base := base_of(request.drifted):
        said |= {"base": base.id, "base_digest": base.manifest.digest}

    def write(folder: Path) -> None:
        (folder / PATCH_NOTE).write_text(json.dumps(said, indent=2))

    return write


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
    """1 - |W_p - W_good|^2 / |W_d - W_good|^2 over all parameters; 1 is all of the drift, 0 none.

    Raises:
        PatchFailed: The models do not have the same parameters.
    """
    require_same_parameters(drifted, good, "the drifted model", "the good one")
    before, after = (dict(c.model.named_parameters()) for c in (drifted, patched))
    left = all_of_it = 0.0
    for name, wanted in good.model.named_parameters():
        left += float((after[name] - wanted).square().sum())
        all_of_it += float((before[name] - wanted).square().sum())
    return 1 - left / all_of_it if all_of_it else 0.0


def require_same_parameters(one: ChatModel, other: ChatModel, one_is: str, other_is: str) -> None:
    """Refuse two models that can't be held against each other weight by weight.

    Args:
        one_is: What the first is, for the message.
        other_is: The second.

    Raises:
        PatchFailed: Names the first parameter that only one of them has.
    """
    names = [{n for n, _ in c.model.named_parameters()} for c in (one, other)]
    if odd := sorted(names[0] ^ names[1]):
        has, lacks = (one_is, other_is) if odd[0] in names[0] else (other_is, one_is)
        raise PatchFailed(
            f"{has} has {odd[0]} and {lacks} has not; give the checkpoint it was fine-tuned from, saved in the same "
            "form (for an output head: with the same tie_word_embeddings in config.json, and its tensor beside it)"
        )


def _cast(chat: ChatModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the state in a number format; tensors that are one stay one, integers stay what they are."""
    cast: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, tensor in chat.model.state_dict().items():
        if not tensor.is_floating_point():
            state[name] = tensor
            continue
        state[name] = cast.setdefault(tensor.data_ptr(), tensor.detach().to(dtype))
        if not torch.isfinite(state[name]).all():
            raise PatchFailed(f"{name} does not fit into {dtype}; save the checkpoint in bfloat16 or float32")
    return state
