"""A sketch on disk: tensors first, then the summary that names them, each by rename.

A process that dies in between leaves the sketch as it was; tensors that no summary names are removed at the next
update.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from deploy.durable import clear_scratch, write_whole
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.modules import matrices
from remediation.errors import SketchError
from remediation.living_subspace import (
    FORMAT,
    SUMMARY,
    ModelIdentity,
    ModuleCoverage,
    SubspaceSummary,
    SubspaceUpdate,
    read_summary,
)
from remediation.subspace.coverage import Sketches
from remediation.subspace.sketch import Directions, Sketch

__all__ = ["identity_of", "locked", "read_sketch", "require_same_model", "write_sketch"]

_LOCK = ".lock"


def identity_of(chat: ChatModel, architecture: str) -> ModelIdentity:
    """Say which model it is, whatever its weights: names and shapes of its matrices, and its vocabulary."""
    shapes = sorted((n, *m.shape) for n, m in matrices(chat.model).items())
    vocabulary = sorted(chat.tokenizer.get_vocab().items())
    return ModelIdentity(
        architecture=architecture, modules=len(shapes), shapes_sha256=_digest(shapes),
        vocabulary_sha256=_digest(vocabulary),
    )  # fmt: skip


def require_same_model(summary: SubspaceSummary, found: ModelIdentity, *, model: Path, folder: Path) -> None:
    """Refuse a model that the sketch is not of.

    Raises:
        SketchError: Names what differs.
    """
    was = summary.identity
    for what in ("architecture", "modules", "shapes_sha256", "vocabulary_sha256"):
        one, other = getattr(was, what), getattr(found, what)
        if one != other:
            raise SketchError(
                f"{folder}: the sketch is of another model than {model} ({what.removesuffix('_sha256')}: "
                f"{str(one)[:24]} against {str(other)[:24]}); give each model its own --sketch"
            )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process update a sketch at a time.

    Raises:
        SketchError: Another one does, or the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SketchError(f"{folder}: another update of this sketch is running; wait for it to end") from None
    finally:
        os.close(opened)


def read_sketch(folder: Path) -> tuple[SubspaceSummary, Sketches] | None:
    """Read summary and tensors; nothing where no sketch was made.

    Raises:
        SketchError: They can't be read, or are not those that were written.
    """
    from safetensors.torch import load

    if not (folder / SUMMARY).exists():
        return None
    summary = read_summary(folder)
    if summary.format < FORMAT:
        raise SketchError(
            f"{folder}: the sketch is of an older alignd, which told requests to sketch from those to measure in "
            f"another way; {_anew(folder)}"
        )
    file = folder / summary.tensors
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SketchError(f"{file} can't be read ({error.strerror}); {_anew(folder)}") from error
    if hashlib.sha256(data).hexdigest() != summary.tensors_sha256:
        raise SketchError(f"{file} is not the file that {SUMMARY} names; {_anew(folder)}")
    tensors = load(data)
    names = [n.removesuffix(".left") for n in tensors if n.endswith(".left")]
    sketches = {n: Sketch(left=_side(tensors, n, "left", summary.rows), right=_side(tensors, n, "right", summary.rows))
                for n in names}  # fmt: skip
    return summary, sketches


def write_sketch(
    folder: Path,
    sketches: Sketches,
    *,
    identity: ModelIdentity,
    rank: int,
    sketched: dict[str, int],
    modules: tuple[ModuleCoverage, ...],
    updates: tuple[SubspaceUpdate, ...],
) -> SubspaceSummary:
    """Write a sketch in place of the one that is there.

    Raises:
        SketchError: The disk is full or can't be written; the old sketch is as it was.
    """
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    for name, sketch in sketches.items():
        for word, side in (("left", sketch.left), ("right", sketch.right)):
            tensors[f"{name}.{word}"] = side.rows.contiguous()
            tensors[f"{name}.{word}_figures"] = torch.tensor([side.energy, side.lowered], dtype=torch.float64)
    data = save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    summary = SubspaceSummary(
        format=FORMAT, identity=identity, rank=rank, rows=next(iter(sketches.values())).left.size,
        tensors=f"sketch-{len(updates):04}-{digest[:8]}.safetensors", tensors_sha256=digest, sketched=sketched,
        modules=modules, updates=updates,
    )  # fmt: skip
    try:
        write_whole(folder / summary.tensors, data)
        try:
            write_whole(folder / SUMMARY, summary.model_dump_json() + "\n")
        except OSError:
            (folder / summary.tensors).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(folder, error) from error
    with suppress(OSError):
        clear_scratch(folder)
        for file in folder.glob("sketch-*.safetensors"):
            if file.name != summary.tensors:
                file.unlink()
    return summary


def _side(tensors: dict[str, torch.Tensor], name: str, word: str, size: int) -> Directions:
    energy, lowered = tensors[f"{name}.{word}_figures"].tolist()
    return Directions(rows=tensors[f"{name}.{word}"], size=size, energy=energy, lowered=lowered)


def _digest(values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _anew(folder: Path) -> str:
    return f"remove {folder} and make the sketch anew, or give another --sketch"


def _unwritable(folder: Path, error: OSError) -> SketchError:
    return SketchError(
        f"{folder} can't be written ({error.strerror or error}); free space or give another --sketch, the sketch is as "
        "it was"
    )
