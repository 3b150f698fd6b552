"""Whether the two forms of a patch are one patch: weights read with NumPy, without torch.

For the conformance checks of recipes; ``remediation.testing`` calls it.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.adapter import ADAPTER_WEIGHTS, RANKS, check_adapter, name_of, require_fits
from deploy.weights import ADAPTER_CONFIG, Tensor, shards_of, tensors_of, tensors_of_file
from remediation.patch import Patch, PatchRequest

__all__ = ["check_adapter_patch", "check_one_patch", "write_empty_adapter"]

Array = NDArray[np.float32]
_PREFIX = "base_model.model."
_ROUNDING = {"BF16": 2.0**-8, "F16": 2.0**-10, "F32": 2.0**-18}
"""Relative error of a number in this format, doubled; in float32 that of a product summed in another order."""


def check_adapter_patch(patch: Patch, request: PatchRequest) -> None:
    """Check what a recipe wrote in the form ``adapter``.

    Raises:
        AssertionError: It does not fit the drifted checkpoint, names another base, or has another rank than is said.
        CheckpointError: It is no adapter, or fits another model.
    """
    said = check_adapter(patch.checkpoint)
    require_fits(patch.checkpoint, request.drifted)
    base = name_of(request.drifted)
    _require(said.base == base, f"the adapter names base {said.base!r}, the drifted checkpoint is {base!r}")
    wanted = next((r for r in RANKS if r >= patch.rank), 0)
    _require(said.rank == wanted, f"an adapter of rank {patch.rank} is written at {wanted}, not {said.rank}")
    _require(said.scale == 1, f"the change is B A: lora_alpha must be the rank, the scale is {said.scale}")
    for module, (a, b) in _pairs(patch.checkpoint).items():
        used = int(np.count_nonzero(a.any(axis=1) & b.any(axis=0)))
        _require(used <= patch.rank, f"{module} has rank {used}, the patch says {patch.rank}")


def check_one_patch(adapter: Path, merged: Path, request: PatchRequest) -> None:
    """Check that the merged weights are those of the drifted checkpoint plus B A, rounded.

    Raises:
        AssertionError: A tensor is another one.
    """
    before, after = _weights(request.drifted), _weights(merged)
    formats = tensors_of(merged)
    _require(before.keys() == after.keys(), f"other tensors are written: {sorted(before.keys() ^ after.keys())}")
    changes = {f"{module}.weight": b @ a for module, (a, b) in _pairs(adapter).items()}
    for name, weight in before.items():
        wanted = weight + changes.get(name, np.zeros_like(weight))
        most = float(np.abs(wanted).max(initial=0.0))
        allowed = _ROUNDING.get(formats[name].dtype, 0.0) * np.abs(wanted) + 1e-5 * most
        wrong = bool((np.abs(after[name] - wanted) > allowed).any())
        _require(not wrong, f"merged and adapter are two patches: {name} differs by more than rounding")


def write_empty_adapter(folder: Path, drifted: Path) -> None:
    """Write an adapter of rank 1 that changes nothing, for fakes."""
    name, tensor = next(
        (n, t) for n, t in sorted(tensors_of(drifted).items()) if len(t.shape) == 2 and n.endswith(".weight")
    )
    (rows, columns), module = tensor.shape, name.removesuffix(".weight")
    middle, end = 4 * columns, 4 * (columns + rows)
    said = {
        f"{_PREFIX}{module}.lora_A.weight": {"dtype": "F32", "shape": [1, columns], "data_offsets": [0, middle]},
        f"{_PREFIX}{module}.lora_B.weight": {"dtype": "F32", "shape": [rows, 1], "data_offsets": [middle, end]},
    }
    header = json.dumps(said).encode()
    (folder / ADAPTER_WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(end))
    config = {
        "base_model_name_or_path": name_of(drifted), "lora_alpha": 1, "peft_type": "LORA", "r": 1,
        "target_modules": [module], "task_type": "CAUSAL_LM",
    }  # fmt: skip
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))


def _pairs(adapter: Path) -> dict[str, tuple[Array, Array]]:
    file = adapter / ADAPTER_WEIGHTS
    pairs = check_adapter(adapter).pairs.items()
    return {module: (_numbers(file, a), _numbers(file, b)) for module, (a, b) in pairs}


def _weights(folder: Path) -> dict[str, Array]:
    return {n: _numbers(folder / s, t) for s in shards_of(folder) for n, t in tensors_of_file(folder / s).items()}


def _numbers(file: Path, tensor: Tensor) -> Array:
    """Read one tensor as float32; a bfloat16 is the upper half of one."""
    with file.open("rb") as opened:
        opened.seek(tensor.start)
        data = opened.read(tensor.end - tensor.start)
    if tensor.dtype == "BF16":
        numbers = (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        numbers = np.frombuffer(data, dtype={"F16": "<f2", "F32": "<f4", "F64": "<f8"}[tensor.dtype])
    return numbers.astype(np.float32).reshape(tensor.shape)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
