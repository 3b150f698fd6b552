"""LoRA adapters as releases: PEFT folders, read without loading them, each tied to the release that it changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from deploy.checkpoint import (
    MANIFEST,
    Release,
    ReleaseKind,
    check_checkpoint,
    find_release,
    read_release,
    require_digest,
    store_release,
    verify_release,
)
from deploy.errors import CheckpointError
from deploy.weights import (
    ADAPTER_CONFIG,
    Tensor,
    is_adapter,
    read_object,
    require_plain_files,
    tensors_of,
    tensors_of_file,
)

__all__ = [
    "ADAPTER_WEIGHTS",
    "PATCH_NOTE",
    "RANKS",
    "AdapterFolder",
    "base_id",
    "base_of",
    "check_adapter",
    "check_whole",
    "full_checkpoint",
    "import_adapter",
    "name_of",
    "require_fits",
    "used_rank",
]

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PATCH_NOTE = "alignd-patch.json"
"""What a recipe leaves beside its weights: what they were made from, and for which incident."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as ``--max-lora-rank``; an adapter of one of these fills the room that it takes."""
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFolder:
    """What an adapter folder says of itself.

    Attributes:
        base: Model that it changes, as its configuration names it.
        rank: Rows of each A.
        scale: ``lora_alpha`` over the rank: the change is ``scale`` B A.
        pairs: Module name to the headers of A (r, d_in) and B (d_out, r).
    """

    base: str
    rank: int
    scale: float
    pairs: dict[str, tuple[Tensor, Tensor]]


def check_adapter(path: Path) -> AdapterFolder:
    """Look whether a folder is a whole LoRA adapter of one rank, without loading it.

    Raises:
        CheckpointError: It isn't; the message names the file and the way out.
    """
    require_plain_files(path)
    config = _config(path)
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise CheckpointError(f"{path}: no {ADAPTER_WEIGHTS}; save the adapter as safetensors")
    unread = [
        key for key in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias")
        if config.get(key)
    ]  # fmt: skip
    if config.get("peft_type") != "LORA" or unread or config.get("bias", "none") != "none":
        raise CheckpointError(
            f"{path}: {ADAPTER_CONFIG} asks for more than one plain LoRA rank ({', '.join(unread) or 'peft_type, bias'}"
            "); merge it into its base model and give the merged folder"
        )
    rank, alpha, base = (config.get(key) for key in ("r", "lora_alpha", "base_model_name_or_path"))
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float) or not isinstance(base, str):
        raise CheckpointError(
            f"{path}: {ADAPTER_CONFIG} names no rank, lora_alpha or base model; save the adapter again"
        )
    pairs = _pairs(path, tensors_of_file(path / ADAPTER_WEIGHTS), rank)
    return AdapterFolder(base=base, rank=rank, scale=alpha / rank, pairs=pairs)


def used_rank(path: Path) -> int:
    """Return the largest rank of an adapter's pairs, without the rows of zeros that fill a server's room.

    Raises:
        CheckpointError: It is no whole adapter.
    """
    halves = [a for a, _ in check_adapter(path).pairs.values()]
    with (path / ADAPTER_WEIGHTS).open("rb") as file:
        return max(_rows_used(file, a) for a in halves)


def _rows_used(file: BinaryIO, tensor: Tensor) -> int:
    """Count the rows that are not all zero, one at a time: a matrix may be large."""
    rows = tensor.shape[0]
    file.seek(tensor.start)
    return sum(any(file.read((tensor.end - tensor.start) // rows)) for _ in range(rows))


def name_of(folder: Path) -> str:
    """Return the release id of a checkpoint folder, or its last part where it is no release: never a path."""
    try:
        return read_release(folder).id
    except CheckpointError:
        return folder.resolve().name


def require_fits(adapter: Path, base: Path) -> None:
    """Compare the shapes of an adapter with the weights that it changes.

    Raises:
        CheckpointError: A module is not there or has another shape.
    """
    weights = tensors_of(base)
    for module, (a, b) in sorted(check_adapter(adapter).pairs.items()):
        weight = weights.get(f"{module}.weight")
        wanted = (b.shape[0], a.shape[1])
        if weight is None or weight.shape != wanted:
            raise CheckpointError(
                f"{adapter}: changes {module} by {list(wanted)}, in {base} it is "
                f"{list(weight.shape) if weight else 'not there'}; give the checkpoint that the adapter was made for"
            )


def base_of(folder: Path) -> Release | None:
    """Return the release that an adapter of the release store changes, ``None`` where the folder is no such adapter.

    Raises:
        CheckpointError: The adapter's manifest can't be read, or its base is not in the store.
    """
    if not is_adapter(folder) or not (folder / MANIFEST).is_file():
        return None
    return find_release(folder.resolve().parent, read_release(folder).manifest.base)


def base_id(store: Path, release: str) -> str:
    """Return the release that an adapter of the store stands on; of a full checkpoint its own id.

    Raises:
        CheckpointError: It is not in the store.
    """
    return find_release(store, release).manifest.base or release


def full_checkpoint(folder: Path) -> Path:
    """Return the full checkpoint of a model: the base of an adapter of the release store, else the folder itself.

    Raises:
        CheckpointError: The base is not in the store.
    """
    base = base_of(folder)
    return base.path if base else folder


def check_whole(folder: Path) -> Path:
    """Look whether a folder holds a model: a whole checkpoint, or an adapter of the release store on its whole base.

    Returns:
        The folder of the full checkpoint.

    Raises:
        CheckpointError: It doesn't, or base and adapter do not fit together.
        DigestMismatch: The base is not what it was when it was imported.
    """
    base = base_of(folder)
    if base is None:
        check_checkpoint(folder)
        return folder
    verify_release(base)
    require_fits(folder, base.path)
    return base.path


def import_adapter(
    source: Path,
    store: Path,
    *,
    name: str,
    base: str,
    created_at: datetime,
    creator: str,
    incident: str = "",
    parent: str = "",
) -> Release:
    """Copy an adapter folder into the release store, named by its content.

    Args:
        base: Release id of the full checkpoint that it changes.
        parent: Release id that it was made from, if not its base: an adapter that was repaired.

    Raises:
        CheckpointError: The source is no whole adapter, its base is not in the store or is another one than the
            adapter was made for, or the store can't be written (nothing is left).
    """
    found = find_release(store, base)
    if found.manifest.kind is not ReleaseKind.MERGED:
        raise CheckpointError(f"release {base} is an adapter itself; name the full checkpoint that it belongs on")
    require_fits(source, found.path)
    note = _note(source)
    if made_for := note.get("base_digest") or note.get("parent_digest"):
        require_digest(found.path, str(made_for), since="when the adapter was made")
    return store_release(
        source, store, name=name, created_at=created_at, parent=parent or base, creator=creator, incident=incident,
        architecture=found.manifest.architecture, kind=ReleaseKind.ADAPTER, base=base,
    )  # fmt: skip


def _config(path: Path) -> dict[str, object]:
    return read_object(path, ADAPTER_CONFIG, folder="PEFT adapter", saved="adapter")


def _pairs(path: Path, tensors: dict[str, Tensor], rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, a in tensors.items():
        if not name.startswith(_PREFIX) or not name.endswith((_A, _B)):
            raise CheckpointError(f"{path}: tensor {name} is no part of a LoRA pair; save the adapter again with PEFT")
        module = name.removeprefix(_PREFIX).removesuffix(_A).removesuffix(_B)
        other = tensors.get(f"{_PREFIX}{module}{_B if name.endswith(_A) else _A}")
        if other is None or len(a.shape) != 2 or len(other.shape) != 2:
            raise CheckpointError(f"{path}: {module} lacks a half of its pair; copy the adapter again")
        if name.endswith(_A):
            if (a.shape[0], other.shape[1]) != (rank, rank):
                raise CheckpointError(
                    f"{path}: {module} has rank {a.shape[0]}, {ADAPTER_CONFIG} says {rank}; save the adapter again"
                )
            found[module] = (a, other)
    if not found:
        raise CheckpointError(f"{path}: {ADAPTER_WEIGHTS} holds no LoRA pair; save the adapter again")
    return found


def _note(path: Path) -> dict[str, object]:
    if not (path / PATCH_NOTE).exists():
        return {}
    try:
        said = json.loads((path / PATCH_NOTE).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {PATCH_NOTE} can't be read; make the patch again") from error
    return said if isinstance(said, dict) else {}
