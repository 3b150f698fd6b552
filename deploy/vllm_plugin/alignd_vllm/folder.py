"""Release folders: what they say of themselves, and a copy of one whose every byte was checked.

Written with the standard library alone: the plugin takes nothing on trust from whoever calls it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from alignd_vllm.errors import Reason, Refused

__all__ = ["MANIFEST", "Manifest", "copy_release", "locate", "read_manifest", "verify"]

MANIFEST = "alignd-manifest.json"
_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
_CHUNK = 1 << 20
_JSON_BYTES_MAX = 4 << 20
_UNREAD = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a release folder states.

    Attributes:
        digest: SHA-256 over the lines ``<sha256> <path>`` of its files, sorted by path.
        kind: ``merged`` or ``adapter``.
        base: Release id that an adapter belongs on.
        files: Path to SHA-256 and size in bytes, of every file but the manifest.
    """

    name: str
    digest: str
    kind: str
    base: str
    files: dict[str, tuple[str, int]]

    @property
    def id(self) -> str:
        """The release id: ``name@`` and the first 12 digits of the digest."""
        return f"{self.name}@{self.digest[:12]}"


def locate(path: str, *, root: Path, release: str) -> Path:
    """Return a release's folder, which must be a real folder right inside the store.

    Raises:
        Refused: It lies elsewhere, is a link, or is not named like the release.
    """
    folder = Path(path)
    if not folder.is_absolute() or ".." in folder.parts or folder.name != release or folder.parent.resolve() != root:
        raise _refused(f"{path}: is not {root / release}; give a release of the store that ALIGND_VLLM_RELEASES names")
    if folder.is_symlink() or not folder.is_dir():
        raise _refused(f"{path}: is no folder, or a link; import the release into {root}")
    return folder


def read_manifest(folder: Path) -> Manifest:
    """Read what a folder states of itself.

    Raises:
        Refused: There is no manifest, or it can't be read.
    """
    said = _object(folder / MANIFEST)
    try:
        files = {str(f["path"]): (str(f["sha256"]), int(f["size"])) for f in said["files"]}
        found = Manifest(
            name=str(said["name"]), digest=str(said["digest"]), kind=str(said.get("kind", "merged")),
            base=str(said.get("base", "")), files=files,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refused(f"{folder}: {MANIFEST} is damaged; import the release again") from error
    for path in files:
        parts = Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts:
            raise _refused(f"{folder}: {MANIFEST} names {path!r}, outside of the folder; import the release again")
    if _digest({path: sha for path, (sha, _) in files.items()}) != found.digest:
        raise _refused(f"{folder}: {MANIFEST} states another digest than its files have; import the release again")
    return found


def copy_release(source: Path, target: Path, *, release: str, sha256: str, base: str, rank_max: int) -> None:
    """Copy an adapter release, checking each byte on its way; the copy is whole or not there.

    Args:
        sha256: Digest that the caller wants served.
        base: Release that the server runs.
        rank_max: The server's ``--max-lora-rank``.

    Raises:
        Refused: It is no adapter of this base, not what the manifest or the caller says, or can't be copied.
    """
    manifest = read_manifest(source)
    _require_identity(manifest, source, release=release, sha256=sha256)
    if manifest.kind != "adapter" or manifest.base != base:
        made_for = manifest.base or "nothing: it is a full checkpoint"
        raise _refused(f"{release}: is an adapter for {made_for}; this server runs {base}: send an adapter made for it")
    scratch = target.parent / f".{target.name}.{uuid4().hex[:8]}.partial"
    try:
        scratch.mkdir(mode=0o700, parents=True)
        _copy_files(source, scratch, manifest)
        _require_plain_lora(scratch, release, rank_max)
        _flush(scratch)
        scratch.rename(target)
        _flush(target.parent)
    except OSError as error:
        raise Refused(
            Reason.DISK, f"{release}: can't be copied to {target} ({error.strerror or error}); free space, ask again"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def verify(folder: Path, *, release: str, sha256: str) -> None:
    """Read every byte of a release folder and compare it with the manifest and with a digest.

    Raises:
        Refused: A file is missing, added, changed or a link, or the digest is another one.
    """
    manifest = read_manifest(folder)
    _require_identity(manifest, folder, release=release, sha256=sha256)
    try:
        _copy_files(folder, None, manifest)
    except OSError as error:
        raise _refused(f"{folder}: can't be read ({error.strerror or error}); mend it, then ask again") from error


def _require_identity(manifest: Manifest, folder: Path, *, release: str, sha256: str) -> None:
    if (manifest.id, manifest.digest) != (release, sha256):
        raise _refused(
            f"{folder}: holds {manifest.id} (digest {manifest.digest[:12]}), {release} ({sha256[:12]}) was asked for; "
            "send the release as it is in the store"
        )


def _copy_files(source: Path, target: Path | None, manifest: Manifest) -> None:
    """Read a folder's files once, each against the manifest, into ``target`` where there is one."""
    found = _plain_files(source)
    for path in sorted(found.keys() | manifest.files.keys() | {MANIFEST}):
        if path not in found or (path != MANIFEST and path not in manifest.files):
            raise _refused(
                f"{source}: {path} is {'missing' if path not in found else 'no part of the release'}; import it again"
            )
        to = None
        if target is not None:
            to = target / path
            to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        read = _read_file(found[path], to)
        if path != MANIFEST and read != manifest.files[path]:
            raise _refused(f"{source}: {path} was changed since the import; import the release again")


def _plain_files(folder: Path) -> dict[str, Path]:
    found = {}
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = Path(at) / name
            mode, path = entry.lstat().st_mode, entry.relative_to(folder).as_posix()
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise _refused(f"{folder}: {path} is a link or a device; copy the file itself")
            if entry.suffix in _PICKLES:
                raise _refused(f"{folder}: {path} is a pickle, which can run code when loaded; save as safetensors")
            if stat.S_ISREG(mode):
                found[path] = entry
    return found


def _read_file(source: Path, target: Path | None) -> tuple[str, int]:
    """Return SHA-256 and size of what was read; a file that became a link since is not followed."""
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
        out = target.open("xb") if target else None
        try:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                if out:
                    out.write(chunk)
            if out:
                out.flush()
                os.fsync(out.fileno())
        finally:
            if out:
                out.close()
    return digest.hexdigest(), size


def _require_plain_lora(folder: Path, release: str, rank_max: int) -> None:
    if not (folder / _WEIGHTS).is_file():
        raise _refused(f"{release}: has no {_WEIGHTS}; save the adapter as safetensors")
    config = _object(folder / _CONFIG)
    rank = config.get("r")
    asks = [key for key in _UNREAD if config.get(key)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or asks:
        raise _refused(
            f"{release}: is more than one plain LoRA rank ({', '.join(asks) or 'peft_type, bias'}); merge it into its "
            "base model"
        )
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= rank_max:
        raise _refused(
            f"{release}: has rank {rank}, the server takes up to {rank_max}; start vLLM with a higher --max-lora-rank"
        )


def _object(file: Path) -> dict[str, Any]:
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            said = json.loads(opened.read(_JSON_BYTES_MAX))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(f"{file}: can't be read as JSON; import the release again") from error
    if not isinstance(said, dict):
        raise _refused(f"{file}: is no JSON object; import the release again")
    return said


def _digest(files: dict[str, str]) -> str:
    lines = "\n".join(f"{sha} {path}" for path, sha in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _refused(message: str) -> Refused:
    return Refused(Reason.CHECKPOINT, message)


def _flush(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
