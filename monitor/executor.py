"""Port: where recipes run."""

from __future__ import annotations

from typing import Protocol

from remediation.patch import Patch, PatchProgress, PatchRequest

__all__ = ["Executor"]


class Executor(Protocol):
    """Runs one recipe outside the watcher's process."""

    async def run(self, request: PatchRequest, on_progress: PatchProgress) -> Patch:
        """Run a recipe; the same request again returns what is there, or starts over.

        Raises:
            PatchFailed: This recipe can't repair this checkpoint.
            WorkerDied: It ended without a result; may pass when tried again.
        """
        ...
