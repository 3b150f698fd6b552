"""Errors of the deploy package.

DeployError
├── CheckpointError        a checkpoint folder can't be used: missing, half written, pickle, other architecture
│   ├── DigestMismatch     a file is not what the manifest says
│   └── SignatureError     a release has no signature of the key that is trusted, or one of another content
├── StageError             a release could not be brought up without traffic
│   └── Fenced             somebody else has taken over what is served
├── StoreInUse             somebody works on the release store or on this target's releases (retryable)
└── DeployerUnavailable    the serving side can't be reached (retryable)
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DeployError",
    "DeployerUnavailable",
    "DigestMismatch",
    "Fenced",
    "SignatureError",
    "StageError",
    "StoreInUse",
]


class DeployError(Exception):
    """Root of the tree; never raised itself."""


class CheckpointError(DeployError):
    """A checkpoint folder can't be used."""


class DigestMismatch(CheckpointError):
    """A file's content is not what the manifest says."""


class SignatureError(CheckpointError):
    """A release is not signed with the key that is trusted."""


class StageError(DeployError):
    """A release could not be brought up."""


class Fenced(StageError):
    """Somebody else has taken over what is served; what was asked changed nothing."""


class StoreInUse(DeployError):
    """Somebody works on the release store; may pass when asked again."""


class DeployerUnavailable(DeployError):
    """The serving side can't be reached; may pass when asked again."""
