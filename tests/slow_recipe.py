"""A recipe without a model whose worker can be caught at any moment, installed as a plugin for the test's workers."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from remediation.errors import PatchFailed
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.testing import FakePatcher

__all__ = ["Options", "SlowRecipe", "install", "make"]

_PIECES = 20


class Options(BaseModel):
    """What happens while the recipe writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = 0.0
    """How long the weights take to be written."""
    chatter: int = 0
    """Bytes of a line on standard output that is no progress."""
    error: str = ""
    """Raised in the middle: one of those below, or ``key``, which tells how the key came."""


class _LinAlgError(RuntimeError):
    """Named as torch names its own."""


_ERRORS: Mapping[str, tuple[Any, ...]] = {
    "memory": (MemoryError,),
    "torch": (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    "cuda": (RuntimeError, "CUDA out of memory. Tried to allocate 20.00 MiB."),
    "other": (RuntimeError, "shapes can't be multiplied"),
    "division": (ZeroDivisionError, "float division by zero"),
    "value": (ValueError, "a share of 1.2"),
    "factor": (_LinAlgError, "the factorization could not be completed"),
    "type": (TypeError, "no number"),
    "can-not": (PatchFailed, "no gradient"),
}


@dataclass(frozen=True, slots=True)
class SlowRecipe:
    """The recipe."""

    options: Options
    name: str = "slow"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Copy the checkpoint, then write its weights again, piece by piece."""
        return FakePatcher(change=self._change).patch(request, progress)

    def _change(self, folder: Path, request: PatchRequest) -> None:
        if self.options.chatter:
            sys.stdout.write("x" * self.options.chatter + "\n")
        (weights,) = folder.glob("*.safetensors")
        content = weights.read_bytes()
        with weights.open("wb") as file:
            for start in range(0, len(content), size := len(content) // _PIECES + 1):
                file.write(content[start : start + size])
                file.flush()
                time.sleep(self.options.seconds / _PIECES)
                if start:
                    self._fail(request)

    def _fail(self, request: PatchRequest) -> None:
        if self.options.error == "key":
            raise PatchFailed(hashlib.sha256(request.site_key.encode()).hexdigest())
        if error := _ERRORS.get(self.options.error):
            raise error[0](*error[1:])


def make(options: Options) -> SlowRecipe:
    """Make the recipe of its options."""
    return SlowRecipe(options)


def install(site: Path) -> None:
    """Make a folder that, on Python's path, offers the recipe as ``slow``."""
    info = site / "slow_recipe-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-recipe\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[alignd.patchers]\nslow = tests.slow_recipe\n")
