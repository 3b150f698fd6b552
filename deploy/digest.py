"""What a folder holds, as digests: the identity of a release."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MANIFEST", "FileDigest", "content_digest", "files_of", "folder_digest"]

MANIFEST = "alignd-manifest.json"
"""States the digests of a release's other files, and is none of them."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """One file of a checkpoint; ``path`` is relative with forward slashes."""

    path: str
    sha256: str
    size: int


def files_of(path: Path) -> Iterator[FileDigest]:
    """Read every file of a folder but the manifest."""
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != MANIFEST):
        digest = hashlib.sha256()
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
        yield FileDigest(
            path=file.relative_to(path).as_posix(), sha256=digest.hexdigest(), size=file.stat().st_size
        )


def content_digest(files: Iterable[FileDigest]) -> str:
    """SHA-256 over the sorted file digests."""
    lines = "\n".join(f"{f.sha256} {f.path}" for f in sorted(files, key=lambda f: f.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(path: Path) -> str:
    """Return the digest that a release of this folder has or would have; reads every byte."""
    return content_digest(files_of(path))
