"""What a transformers folder holds, read without loading it: architecture, weight files, their headers."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import CheckpointError

__all__ = [
    "ADAPTER_CONFIG",
    "Tensor",
    "architecture_of",
    "is_adapter",
    "is_folder",
    "parameters_of",
    "read_config",
    "read_object",
    "require_plain_files",
    "shards_of",
    "tensors_of",
    "tensors_of_file",
]

ADAPTER_CONFIG = "adapter_config.json"
"""What PEFT calls the configuration of an adapter; no checkpoint holds it."""
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a safetensors file, as its header states it.

    Attributes:
        dtype: The format's name of it, e.g. ``BF16``.
        start: First byte in the file.
        end: First byte after it.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; a name that no file system takes leads to none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_adapter(path: Path) -> bool:
    """Whether a folder says that it holds an adapter."""
    return is_folder(path) and (path / ADAPTER_CONFIG).exists()


def require_plain_files(path: Path) -> None:
    """Refuse pickled weights, which can run code when loaded, and what is no file: links, devices, pipes, sockets.

    Raises:
        CheckpointError: There is one, or the folder is missing.
    """
    if not is_folder(path):
        raise CheckpointError(f"{path}: no such folder; give the folder that holds config.json")
    for found in sorted(path.rglob("*")):
        name = found.relative_to(path).as_posix()
        if found.is_symlink():
            raise CheckpointError(f"{path}: {name} is a symbolic link; copy the file itself")
        if found.is_dir():
            continue
        if not found.is_file():
            raise CheckpointError(f"{path}: {name} is no file but a device, pipe or socket; remove it")
        if found.suffix.lower() in _PICKLES:
            raise CheckpointError(
                f"{path}: holds pickle weights ({name}), which can run code when loaded; save as safetensors"
            )


def read_config(path: Path) -> dict[str, object]:
    """Read ``config.json``.

    Raises:
        CheckpointError: It is missing or is no JSON object.
    """
    return read_object(path, "config.json", folder="transformers checkpoint", saved="checkpoint")


def read_object(path: Path, name: str, *, folder: str, saved: str) -> dict[str, object]:
    """Read a JSON object of a folder.

    Args:
        folder: What kind of folder has the file.
        saved: What to save again where it is damaged.

    Raises:
        CheckpointError: It is missing or is no JSON object.
    """
    try:
        found = json.loads((path / name).read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no {name}; give the folder of a {folder}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {name} can't be read; save the {saved} again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: {name} is no object; save the {saved} again")
    return found


def architecture_of(path: Path) -> str:
    """Return the first architecture that ``config.json`` names.

    Raises:
        CheckpointError: It names none.
    """
    names = read_config(path).get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise CheckpointError(f"{path}: config.json names no architecture; save the checkpoint again")
    return names[0]


def shards_of(path: Path) -> tuple[str, ...]:
    """List the weight files, from the index where there is one.

    Raises:
        CheckpointError: One is missing.
    """
    index = path / "model.safetensors.index.json"
    if not index.exists():
        if not (path / "model.safetensors").is_file():
            raise CheckpointError(f"{path}: no model.safetensors; save with safe_serialization")
        return ("model.safetensors",)
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index}: can't be read; save the checkpoint again") from error
    for shard in shards:
        if not isinstance(shard, str):
            raise CheckpointError(f"{index}: {shard!r} is no file name; save the checkpoint again")
        if "/" in shard or not (path / shard).is_file():
            raise CheckpointError(f"{path}: {shard} of the index is missing; the checkpoint is half written")
    return tuple(shards)


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Read the headers of all weight files of a checkpoint.

    Raises:
        CheckpointError: A file is missing, cut or damaged.
    """
    return {name: tensor for shard in shards_of(path) for name, tensor in tensors_of_file(path / shard).items()}


def parameters_of(path: Path) -> int:
    """Count the numbers in a checkpoint's weight files.

    Raises:
        CheckpointError: A file is missing, cut or damaged.
    """
    return sum(tensor.size for tensor in tensors_of(path).values())


def tensors_of_file(file: Path) -> dict[str, Tensor]:
    """Read a safetensors header (8-byte little-endian length, JSON, data) and compare the file's length with it.

    Raises:
        CheckpointError: The file is cut, half written or damaged.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 0 < length <= size - 8:
            raise CheckpointError(f"{file}: no safetensors file; it is cut or damaged")
        try:
            header = json.loads(opened.read(length))
            found = {name: _tensor(said, 8 + length) for name, said in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise CheckpointError(f"{file}: damaged safetensors header; copy it again") from error
    end = max((t.end for t in found.values()), default=8 + length)
    if size != end:
        raise CheckpointError(f"{file}: half written ({size} of {end} bytes); copy it again")
    return found


def _tensor(said: dict[str, list[int]], data: int) -> Tensor:
    start, end = (data + int(offset) for offset in said["data_offsets"])
    return Tensor(dtype=str(said["dtype"]), shape=tuple(int(n) for n in said["shape"]), start=start, end=end)
