"""A recipe without a model whose worker can be caught at any moment, installed as a plugin for the test's workers."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

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
    """Raised in the middle: ``memory``, ``torch``, ``cuda``, ``can-not``, ``division``, ``value``, ``factor``,
    ``type`` or ``other``."""


class _LinAlgError(RuntimeError):
    """Named as torch names its own."""


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
        content = (folder / "model.safetensors").read_bytes()
        with (folder / "model.safetensors").open("wb") as file:
            for start in range(0, len(content), size := len(content) // _PIECES + 1):
                file.write(content[start : start + size])
                file.flush()
                time.sleep(self.options.seconds / _PIECES)
                if start:
                    self._fail()

    def _fail(self) -> None:
        match self.options.error:
            case "memory":
                raise MemoryError
            case "torch":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            case "cuda":
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            case "other":
                raise RuntimeError("shapes can't be multiplied")
            case "division":
                raise ZeroDivisionError("float division by zero")
            case "value":
                raise ValueError("a share of 1.2")
            case "factor":
                raise _LinAlgError("the factorization could not be completed")
            case "type":
                raise TypeError("no number")
            case "can-not":
                raise PatchFailed("no gradient")


def make(options: Options) -> SlowRecipe:
    """Make the recipe of its options."""
    return SlowRecipe(options)


def install(site: Path) -> None:
    """Make a folder that, on Python's path, offers the recipe as ``slow``."""
    info = site / "slow_recipe-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-recipe\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[alignd.patchers]\nslow = tests.slow_recipe\n")
