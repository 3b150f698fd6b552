"""Errors of the deploy package.

DeployError
├── CheckpointError        a checkpoint folder can't be used: missing, half written, pickle, other architecture
│   └── DigestMismatch     a file is not what the manifest says
├── StageError             a release could not be brought up without traffic
└── DeployerUnavailable    the serving side can't be reached (retryable)
"""

from __future__ import annotations

__all__ = ["CheckpointError", "DeployError", "DeployerUnavailable", "DigestMismatch", "StageError"]


class DeployError(Exception):
    """Root of the tree; never raised itself."""


class CheckpointError(DeployError):
    """A checkpoint folder can't be used."""


class DigestMismatch(CheckpointError):
    """A file's content is not what the manifest says."""


class StageError(DeployError):
    """A release could not be brought up."""


class DeployerUnavailable(DeployError):
    """The serving side can't be reached; may pass when asked again."""
