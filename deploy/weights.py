"""What a transformers folder holds, read without loading it: architecture, weight files, their headers."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from deploy.errors import CheckpointError

__all__ = ["architecture_of", "check_safetensors", "read_config", "shards_of"]


def read_config(path: Path) -> dict[str, object]:
    """Read ``config.json``.

    Raises:
        CheckpointError: It is missing or is no JSON object.
    """
    try:
        config = json.loads((path / "config.json").read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no config.json; give the folder of a transformers checkpoint") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: config.json can't be read; save the checkpoint again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: config.json is no object; save the checkpoint again")
    return config


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
        if not (path / "model.safetensors").exists():
            raise CheckpointError(f"{path}: no model.safetensors; save with safe_serialization")
        return ("model.safetensors",)
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: can't be read; save the checkpoint again") from error
    for shard in shards:
        if not isinstance(shard, str):
            raise CheckpointError(f"{index}: {shard!r} is no file name; save the checkpoint again")
        if "/" in shard or not (path / shard).is_file():
            raise CheckpointError(f"{path}: {shard} of the index is missing; the checkpoint is half written")
    return tuple(shards)


def check_safetensors(file: Path) -> None:
    """Compare a file's length with its header (8-byte little-endian length, JSON, data).

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
            end = max((t["data_offsets"][1] for k, t in header.items() if k != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(f"{file}: damaged safetensors header; copy it again") from error
    if size != 8 + length + end:
        raise CheckpointError(f"{file}: half written ({size} of {8 + length + end} bytes); copy it again")
