"""Executor ``local``: a child process group on this host."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.worker import patch_from_json, run_patch, to_json

__all__ = ["LocalExecutor"]


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs ``remediation.worker``. A result that is whole is kept beside its folder, so a crash repeats nothing."""

    timeout_seconds: float = 3600.0

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        """Run a recipe, or return what an earlier run of the same request left whole."""
        said = request.output.with_name(f"{request.output.name}.patch.json")
        if done := await asyncio.to_thread(_finished, request, said):
            return done
        patch = await run_patch(request, timeout_seconds=self.timeout_seconds, on_progress=on_progress)
        await asyncio.to_thread(_keep, request, patch, said)
        return patch


def _finished(request: PatchRequest, said: Path) -> Patch | None:
    """Return the same request's earlier result; clear away what is not whole or was made for another request."""
    request.output.parent.mkdir(parents=True, exist_ok=True)
    if said.exists() and request.output.is_dir():
        try:
            kept = json.loads(said.read_text())
        except ValueError:  # cut short by a power failure: the work counts as not done
            kept = {}
        if kept.get("request") == to_json(request):
            return patch_from_json(kept["patch"])
    shutil.rmtree(request.output, ignore_errors=True)
    said.unlink(missing_ok=True)
    return None


def _keep(request: PatchRequest, patch: Patch, said: Path) -> None:
    scratch = said.with_suffix(".partial")
    scratch.write_text(json.dumps({"request": to_json(request), "patch": to_json(patch)}))
    scratch.rename(said)
