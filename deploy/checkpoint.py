"""Checkpoints as releases: folders with a manifest that names every file by digest.

A release folder is written beside its final name, flushed, and renamed: it is there whole or not at
all. Only safetensors weights are taken; pickle files can run code when loaded and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

__all__ = ["CheckpointManifest", "FileDigest", "Release"]

@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """One file of a checkpoint; ``path`` is relative with forward slashes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointManifest:
    """What a release folder holds and where it came from.

    Attributes:
        digest: SHA-256 over the sorted file digests: the content's identity.
        architecture: ``architectures[0]`` of ``config.json``.
        parent: Release id that this one was made from, empty for an import.
        creator: What made it, e.g. ``import`` or ``patch:restore``.
        incident: Incident that asked for it, empty otherwise.
    """

    name: str
    digest: str
    architecture: str
    parent: str
    creator: str
    incident: str
    created_at: datetime
    files: tuple[FileDigest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A checkpoint that can be served; ``id`` is ``name@`` and the first 12 digits of its digest."""

    id: str
    path: Path
    manifest: CheckpointManifest
