"""Executor ``local``: a child process group on this host."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.durable import write_whole
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.worker import patch_from_json, run_patch, to_json

__all__ = ["LocalExecutor"]

log = logging.getLogger("alignd")


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs ``remediation.worker``.

    Attributes:
        timeout_seconds: For each run.
        device: Where recipes compute: ``cpu``, ``cuda`` or ``cuda:N``.
        environment: Returns what is added to the worker's environment, at each run.
        keeps: Whether a result that is whole is kept beside its folder, so that a crash repeats nothing, and what an
            earlier run left in the folder is cleared away. Without it a run touches nothing that it did not make.
    """

    timeout_seconds: float = 3600.0
    keeps: bool = True
    device: str = "cpu"
    environment: Callable[[], Mapping[str, str]] = dict

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        """Run a recipe, or return what an earlier run of the same request left whole."""
        said = request.output.with_name(f"{request.output.name}.patch.json")
        if self.keeps and (done := await asyncio.to_thread(_finished, request, said)):
            return done
        patch = await run_patch(
            request, timeout_seconds=self.timeout_seconds, on_progress=on_progress, environment=self.environment(),
            device=self.device,
        )  # fmt: skip
        if self.keeps:
            await asyncio.to_thread(_keep, request, patch, said)
        return patch


def _finished(request: PatchRequest, said: Path) -> Patch | None:
    """Return the same request's earlier result; clear away what is not whole or was made for another request."""
    request.output.parent.mkdir(parents=True, exist_ok=True)
    if said.exists() and request.output.is_dir() and (patch := _kept(request, said)):
        return patch
    shutil.rmtree(request.output, ignore_errors=True)
    said.unlink(missing_ok=True)
    return None


def _kept(request: PatchRequest, said: Path) -> Patch | None:
    """Read what was kept; whatever is wrong with the file (cut short, edited), the work counts as not done."""
    try:
        kept = json.loads(said.read_bytes())
        return patch_from_json(kept["patch"]) if kept["request"] == to_json(request) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s can't be used (%s: %s); the patch is made again", said, type(error).__name__, error)
        return None


def _keep(request: PatchRequest, patch: Patch, said: Path) -> None:
    """Keep a result; where it can't be written, a crash before the next step repeats the work, and no more is lost."""
    try:
        write_whole(said, json.dumps({"request": to_json(request), "patch": to_json(patch)}))
    except OSError as error:
        log.warning("%s can't be written (%s); a crash now would make the patch again", said, error.strerror)
