"""What a folder holds, as digests: the identity of a release."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deploy.errors import CheckpointError

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


def files_of(path: Path, *, links: bool = False) -> Iterator[FileDigest]:
    """Read every file of a folder but its manifest.

    Args:
        links: Whether to follow links to files, as the folder of a hub's cache has them; a release has none.

    Raises:
        CheckpointError: A file can't be read, or became a link since it was listed.
    """
    for file in sorted(p for p in path.rglob("*") if not p.is_dir() or (p.is_symlink() and not links)):
        if (name := file.relative_to(path).as_posix()) == MANIFEST:
            continue
        digest, size = hashlib.sha256(), 0
        try:
            with _open_plain(file, links=links) as opened:
                while chunk := opened.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError as error:
            raise CheckpointError(
                f"{path}: {name} can't be read ({error.strerror or error}); mend its rights, or copy the file itself"
            ) from error
        yield FileDigest(path=name, sha256=digest.hexdigest(), size=size)


def _open_plain(file: Path, *, links: bool) -> BinaryIO:
    """Open a file: a link that took its place since it was checked is not followed, a pipe is not waited for."""
    opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "no plain file")
    return os.fdopen(opened, "rb")


def content_digest(files: Iterable[FileDigest]) -> str:
    """SHA-256 over the sorted file digests."""
    lines = "\n".join(f"{f.sha256} {f.path}" for f in sorted(files, key=lambda f: f.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(path: Path) -> str:
    """Return the digest that a release of this folder has or would have; reads every byte."""
    return content_digest(files_of(path, links=True))
