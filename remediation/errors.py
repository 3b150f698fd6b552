"""Errors of the remediation package.

RemediationError
├── PatchFailed            this recipe can't repair this checkpoint (permanent: next recipe)
├── ReproduceError         a run of `alignd reproduce` can't begin or go on: names the file and the way out
├── SketchError            a sketch of safety gradients can't be read or updated (permanent)
└── WorkerDied             the worker process ended without a result (retryable)
"""

from __future__ import annotations

__all__ = ["PatchFailed", "RemediationError", "ReproduceError", "SketchError", "WorkerDied"]


class RemediationError(Exception):
    """Root of the tree; never raised itself."""


class PatchFailed(RemediationError):
    """The recipe can't repair this checkpoint; trying it again won't help."""


class ReproduceError(RemediationError):
    """A run of the published tables can't begin or go on."""


class SketchError(RemediationError):
    """A sketch of safety gradients can't be read or updated as asked."""


class WorkerDied(RemediationError):
    """The worker ended without a result; may pass when tried again."""
