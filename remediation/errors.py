"""Errors of the remediation package.

RemediationError
├── PatchFailed            this recipe can't repair this checkpoint (permanent: next recipe)
└── WorkerDied             the worker process ended without a result (retryable)
"""

from __future__ import annotations

__all__ = ["PatchFailed", "RemediationError", "WorkerDied"]


class RemediationError(Exception):
    """Root of the tree; never raised itself."""


class PatchFailed(RemediationError):
    """The recipe can't repair this checkpoint; trying it again won't help."""


class WorkerDied(RemediationError):
    """The worker ended without a result; may pass when tried again."""
