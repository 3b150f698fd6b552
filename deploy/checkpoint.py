"""Checkpoints as releases: folders with a manifest that names every file by digest.

A release folder is written beside its final name, flushed, and renamed: it is there whole or not at
all. Only safetensors weights are taken; pickle files can run code when loaded and are refused.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from deploy.digest import MANIFEST, FileDigest, content_digest, files_of, folder_digest
from deploy.durable import new_folder
from deploy.errors import CheckpointError, DigestMismatch
from deploy.weights import ADAPTER_CONFIG, architecture_of, is_folder, read_config, require_plain_files, tensors_of

__all__ = [
    "MANIFEST",
    "CheckpointManifest",
    "FileDigest",
    "Release",
    "ReleaseKind",
    "check_checkpoint",
    "find_release",
    "import_checkpoint",
    "list_releases",
    "read_release",
    "release_names",
    "require_digest",
    "require_same_architecture",
    "store_release",
    "verify_release",
]


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ReleaseKind(StrEnum):
    """What a release folder holds."""

    MERGED = "merged"
    """A full checkpoint."""
    ADAPTER = "adapter"
    """A LoRA adapter, served on top of the release that it names as its base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointManifest:
    """What a release folder holds and where it came from.

    Attributes:
        digest: SHA-256 over the sorted file digests: the content's identity.
        architecture: ``architectures[0]`` of ``config.json``, the base's where it is an adapter.
        parent: Release id that this one was made from, empty for an import.
        creator: What made it, e.g. ``import`` or ``patch:restore-subspace``.
        incident: Incident that asked for it, empty otherwise.
        base: Release id that an adapter belongs on, empty for a full checkpoint.
    """

    name: str
    digest: str
    architecture: str
    parent: str
    creator: str
    incident: str
    created_at: datetime
    files: tuple[FileDigest, ...]
    kind: ReleaseKind = ReleaseKind.MERGED
    base: str = ""


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
    require_plain_files(path)
    if (path / ADAPTER_CONFIG).exists():
        raise CheckpointError(
            f"{path}: is an adapter ({ADAPTER_CONFIG}), no checkpoint; merge it into its base model and give the "
            "merged folder"
        )
    architecture = architecture_of(path)
    tensors_of(path)
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
    return store_release(
        source, store, name=name, created_at=created_at, parent=parent, creator=creator, incident=incident,
        architecture=check_checkpoint(source),
    )  # fmt: skip


def store_release(
    source: Path,
    store: Path,
    *,
    name: str,
    created_at: datetime,
    parent: str,
    creator: str,
    incident: str,
    architecture: str,
    kind: ReleaseKind = ReleaseKind.MERGED,
    base: str = "",
) -> Release:
    """Copy a folder that was checked into the store; see ``import_checkpoint``.

    Raises:
        CheckpointError: The name can't stand in a path or a command line, or the store can't be written
            (nothing is left).
    """
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"release name {name[:120]!r}: use up to 100 letters, digits, dots, dashes, underscores")
    files = tuple(files_of(source))
    digest = content_digest(files)
    final = store / f"{name}@{digest[:12]}"
    if final.exists():
        return _there_already(final, digest)
    manifest = CheckpointManifest(
        name=name, digest=digest, architecture=architecture, parent=parent, creator=creator, incident=incident,
        created_at=created_at, files=files, kind=kind, base=base,
    )  # fmt: skip
    try:
        with new_folder(final) as folder:
            for file in files:
                to = folder / file.path
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / file.path, to, follow_symlinks=False)
            (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2, default=datetime.isoformat))
            verify_release(Release(id=final.name, path=folder, manifest=manifest))
    except CheckpointError:
        if final.exists():  # another import of the same content was first
            return _there_already(final, digest)
        raise
    return Release(id=final.name, path=final, manifest=manifest)


def _there_already(final: Path, digest: str) -> Release:
    """Return the release of this content, which must be whole."""
    release = find_release(final.parent, final.name)
    if release.manifest.digest != digest:
        raise DigestMismatch(
            f"release {release.id} has another content of digest {release.manifest.digest}, this one's is {digest}; "
            "import it under another name"
        )
    verify_release(release)
    return release


def read_release(path: Path) -> Release:
    """Read a release folder's manifest.

    Raises:
        CheckpointError: There is none, or it can't be read.
    """
    try:
        data = json.loads((path / MANIFEST).read_text())
        data["files"] = tuple(FileDigest(**f) for f in data["files"])
        data["created_at"] = datetime.fromisoformat(data["created_at"])
        data["kind"] = ReleaseKind(data.get("kind", ReleaseKind.MERGED))
        manifest = CheckpointManifest(**{**data, "base": "" + data.get("base", "")})  # a base that is no text raises
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: no readable {MANIFEST}; import the folder as a release, or move it out of the release store"
        ) from error
    return Release(id=f"{manifest.name}@{manifest.digest[:12]}", path=path, manifest=manifest)


def find_release(store: Path, release: str) -> Release:
    """Find a release in the store by id.

    Raises:
        CheckpointError: It isn't there, or its folder says that it is another one.
    """
    folder = store / release
    if any(c in release for c in "/\\\0") or release.startswith(".") or not is_folder(folder):
        raise CheckpointError(f"release {release[:120]!r} is not in {store}; `alignd releases list` shows what is")
    if folder.is_symlink():
        raise CheckpointError(f"release {release!r}: its folder is a symbolic link; import what it leads to")
    found = read_release(folder)
    if found.id != release:
        raise DigestMismatch(
            f"release {release!r}: its manifest is that of {found.id!r}; move the folder out of the store and import "
            "the checkpoint again"
        )
    return found


def list_releases(store: Path) -> tuple[Release, ...]:
    """List the store's releases, oldest first; half-written folders are no releases.

    Raises:
        CheckpointError: A folder of it has no readable manifest, or another release's.
    """
    found = (find_release(store, name) for name in release_names(store))
    return tuple(sorted(found, key=lambda r: (r.manifest.created_at, r.id)))


def release_names(store: Path) -> tuple[str, ...]:
    """Return the names of the store's release folders, damaged ones too."""
    folders = store.glob("*@*") if store.is_dir() else ()
    return tuple(sorted(p.name for p in folders if not p.name.startswith(".") and p.is_dir()))


def verify_release(release: Release) -> None:
    """Compare every file with the manifest.

    Raises:
        CheckpointError: It holds a link, a device or pickled weights.
        DigestMismatch: A file is missing, added or changed.
    """
    require_plain_files(release.path)
    found = {f.path: f for f in files_of(release.path)}
    stated = {f.path: f for f in release.manifest.files}
    for path in sorted(found.keys() | stated.keys()):
        if found.get(path) != stated.get(path):
            raise DigestMismatch(
                f"release {release.id}: {path} is not what its manifest says; move the folder out of the store and "
                "import the checkpoint again"
            )
    if content_digest(release.manifest.files) != release.manifest.digest:
        raise DigestMismatch(
            f"release {release.id}: the manifest's own digest is wrong; move the folder out of the store and import "
            "the checkpoint again"
        )


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
    one, other = tensors_of(first), tensors_of(second)
    for name in sorted(one.keys() & other.keys()):
        if one[name].shape != other[name].shape:
            raise CheckpointError(
                f"{second}: tensor {name} has shape {list(other[name].shape)}, in {first} it is "
                f"{list(one[name].shape)}; give the checkpoint it was fine-tuned from"
            )


def require_digest(path: Path, digest: str, *, since: str) -> None:
    """Refuse a folder whose content is another one than it was.

    Args:
        since: When it had this digest, for the message, e.g. "when it was imported".

    Raises:
        DigestMismatch: A file was changed, added or removed since.
    """
    if (found := folder_digest(path)) != digest:
        raise DigestMismatch(
            f"{path}: its content has digest {found[:12]}, {since} it had {digest[:12]}; a patch for other "
            "weights, or towards them, is of no use: abort the repair, or put the checkpoint back"
        )
