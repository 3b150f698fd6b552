"""Checkpoints as releases: folders with a manifest that names every file by digest.

A release folder is written beside its final name, flushed, and renamed: it is there whole or not at
all. Only safetensors weights are taken; pickle files can run code when loaded and are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from deploy.errors import CheckpointError, DigestMismatch
from deploy.weights import architecture_of, check_safetensors, read_config, shards_of

__all__ = [
    "MANIFEST",
    "CheckpointManifest",
    "FileDigest",
    "Release",
    "check_checkpoint",
    "content_digest",
    "find_release",
    "import_checkpoint",
    "list_releases",
    "new_folder",
    "read_release",
    "require_same_architecture",
    "verify_release",
]

MANIFEST = "alignd-manifest.json"
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
_CHUNK = 1 << 20


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
        creator: What made it, e.g. ``import`` or ``patch:restore-subspace``.
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


def check_checkpoint(path: Path) -> str:
    """Look whether a folder is a whole safetensors checkpoint, without loading it.

    Returns:
        Its architecture, e.g. ``LlamaForCausalLM``.

    Raises:
        CheckpointError: It isn't; the message names the file and the way out.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; give the folder that holds config.json")
    if pickles := sorted(p.name for p in path.iterdir() if p.suffix in _PICKLES):
        raise CheckpointError(
            f"{path}: holds pickle weights ({pickles[0]}), which can run code when loaded; save as safetensors"
        )
    if links := sorted(p.name for p in path.rglob("*") if p.is_symlink()):
        raise CheckpointError(f"{path}: {links[0]} is a symbolic link; copy the file itself")
    architecture = architecture_of(path)
    shards = shards_of(path)
    for shard in shards:
        check_safetensors(path / shard)
    return architecture


def import_checkpoint(
    source: Path,
    store: Path,
    *,
    name: str,
    created_at: datetime,
    parent: str = "",
    creator: str = "import",
    incident: str = "",
) -> Release:
    """Copy a checkpoint folder into the release store, named by its content.

    Importing the same content again returns the release that is there.

    Raises:
        CheckpointError: The source is no whole checkpoint, or the store can't be written (nothing is left).
    """
    if not name or any(c in name for c in "@/\\ \0") or name.startswith("."):
        raise CheckpointError(f"release name {name!r}: use letters, digits, dots and dashes")
    architecture = check_checkpoint(source)
    files = tuple(_digests(source))
    digest = _content_digest(files)
    final = store / f"{name}@{digest[:12]}"
    if final.exists():
        release = read_release(final)
        verify_release(release)
        return release
    manifest = CheckpointManifest(
        name=name, digest=digest, architecture=architecture, parent=parent, creator=creator, incident=incident,
        created_at=created_at, files=files,
    )  # fmt: skip
    with new_folder(final) as folder:
        for file in files:
            to = folder / file.path
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file.path, to)
        (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2, default=datetime.isoformat))
        verify_release(Release(id=final.name, path=folder, manifest=manifest))
    return Release(id=final.name, path=final, manifest=manifest)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give a scratch folder that becomes ``final`` in one rename, or vanishes on any error.

    Raises:
        CheckpointError: The disk is full or the place can't be written.
    """
    scratch = final.parent / f".{final.name}.{uuid4().hex[:8]}.partial"
    try:
        scratch.mkdir(parents=True)
        yield scratch
        for file in scratch.rglob("*"):
            if file.is_file():
                _flush(file)
        scratch.rename(final)
        _flush(final.parent)
    except OSError as error:
        raise CheckpointError(
            f"{final}: can't be written ({error.strerror or error}); free space or choose another place, "
            "nothing was left behind"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def content_digest(path: Path) -> str:
    """Return the digest that a checkpoint folder has, or would have, as a release."""
    return _content_digest(tuple(_digests(path)))


def read_release(path: Path) -> Release:
    """Read a release folder's manifest.

    Raises:
        CheckpointError: There is none, or it can't be read.
    """
    try:
        data = json.loads((path / MANIFEST).read_text())
        data["files"] = tuple(FileDigest(**f) for f in data["files"])
        data["created_at"] = datetime.fromisoformat(data["created_at"])
        manifest = CheckpointManifest(**data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: no readable {MANIFEST}; import the folder as a release") from error
    return Release(id=f"{manifest.name}@{manifest.digest[:12]}", path=path, manifest=manifest)


def find_release(store: Path, release: str) -> Release:
    """Find a release in the store by id.

    Raises:
        CheckpointError: It isn't there.
    """
    if "/" in release or "\\" in release or release.startswith(".") or not (store / release).is_dir():
        raise CheckpointError(f"release {release!r} is not in {store}; `alignd status` lists what is known")
    return read_release(store / release)


def list_releases(store: Path) -> tuple[Release, ...]:
    """List the store's releases, oldest first; half-written folders are no releases."""
    folders = (p for p in store.glob("*@*") if not p.name.startswith(".")) if store.is_dir() else ()
    return tuple(sorted((read_release(p) for p in folders), key=lambda r: r.manifest.created_at))


def verify_release(release: Release) -> None:
    """Compare every file with the manifest.

    Raises:
        DigestMismatch: A file is missing, added or changed.
    """
    found = {f.path: f for f in _digests(release.path)}
    stated = {f.path: f for f in release.manifest.files}
    for path in sorted(found.keys() | stated.keys()):
        if found.get(path) != stated.get(path):
            raise DigestMismatch(
                f"release {release.id}: {path} is not what its manifest says; import the checkpoint again"
            )
    if _content_digest(release.manifest.files) != release.manifest.digest:
        raise DigestMismatch(f"release {release.id}: the manifest's own digest is wrong; import the checkpoint again")


def require_same_architecture(first: Path, second: Path) -> None:
    """Refuse two checkpoints that can't stand for each other.

    Raises:
        CheckpointError: Architecture or shape differ.
    """
    keys = ("architectures", "hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")
    a, b = (read_config(p) for p in (first, second))
    if different := [k for k in keys if a.get(k) != b.get(k)]:
        raise CheckpointError(
            f"{second} is another architecture than {first} ({different[0]}: {b.get(different[0])} against "
            f"{a.get(different[0])}); give the checkpoint it was fine-tuned from"
        )


def _digests(path: Path) -> Iterator[FileDigest]:
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != MANIFEST):
        digest = hashlib.sha256()
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
        yield FileDigest(
            path=file.relative_to(path).as_posix(), sha256=digest.hexdigest(), size=file.stat().st_size
        )


def _content_digest(files: tuple[FileDigest, ...]) -> str:
    lines = "\n".join(f"{f.sha256} {f.path}" for f in sorted(files, key=lambda f: f.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
