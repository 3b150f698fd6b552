"""Recipes without a model for the benchmark of kills, installed as plugins for its workers.

``kills-mend`` gives the last known good release's weights back; ``kills-weak`` changes nothing and fails the gates.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deploy.checkpoint import MANIFEST
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.testing import FakePatcher

__all__ = ["KillsRecipe", "Options", "install", "make"]


class Options(BaseModel):
    """What the recipe does, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mends: bool = True
    """Whether it takes the reference's files."""
    seconds: float = 0.5
    """How long the worker writes."""


@dataclass(frozen=True, slots=True)
class KillsRecipe:
    """The recipe."""

    options: Options
    name: str = "kills"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Copy the checkpoint, then change it in a while."""
        return FakePatcher(change=self._change).patch(request, progress)

    def _change(self, folder: Path, request: PatchRequest) -> None:
        if self.options.mends and request.reference:
            for file in request.reference.iterdir():
                if file.name != MANIFEST:
                    shutil.copyfile(file, folder / file.name)
        config = json.loads((folder / "config.json").read_text())
        time.sleep(self.options.seconds)
        (folder / "config.json").write_text(json.dumps({**config, "patched_by": request.recipe}))


def make(options: Options) -> KillsRecipe:
    """Make the recipe of its options."""
    return KillsRecipe(options)


def install(site: Path) -> None:
    """Make a folder that, on Python's path, offers the recipes."""
    info = site / "kills_recipe-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kills-recipe\nVersion: 1\n")
    names = "\n".join(f"{name} = tests.kills_recipe" for name in ("kills-mend", "kills-weak"))
    (info / "entry_points.txt").write_text(f"[alignd.patchers]\n{names}\n")
