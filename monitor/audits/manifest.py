"""What an audit's folder holds, by SHA-256, and whether it still does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.audits.archive import OUTCOMES, canonical
from monitor.errors import ConfigError

__all__ = ["MANIFEST", "SIGNATURE", "Checked", "check_folder", "manifest_of"]

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
FORMAT = "alignd-audit-manifest/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of checking an audit.

    Attributes:
        faults: What is wrong, in words; empty where nothing is.
        signed: Whether a signature was there and was checked with the key that was given.
        left_out: Files that the manifest names and the folder lacks, where that is allowed.
    """

    faults: tuple[str, ...]
    signed: bool
    left_out: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def manifest_of(folder: Path, audit: str, *, log_head: str) -> bytes:
    """Name every file of an audit with its SHA-256, in canonical form.

    Args:
        log_head: Digest of the newest entry of the audit log, which all older ones lead to; empty where there is none.
    """
    files = {p.name: _sha256(p) for p in sorted(folder.iterdir()) if p.name not in {MANIFEST, SIGNATURE}}
    return canonical({"format": FORMAT, "audit": audit, "files": files, "log_head": log_head or None})


def check_folder(folder: Path, public: bytes | None) -> Checked:
    """Hold an audit's files against its manifest, and the manifest against its signature.

    Args:
        public: Public key in PEM; ``None`` checks the files alone.

    Raises:
        ConfigError: There is no manifest, or the key is none.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest: Mapping[str, Any] = json.loads(content)
        files: Mapping[str, str] = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / MANIFEST} can't be read; put a copy of the audit back") from error
    faults: list[str] = []
    left_out: list[str] = []
    for name, digest in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            (left_out if name == OUTCOMES else faults).append(name if name == OUTCOMES else f"{name} is not there")
        elif _sha256(path) != digest:
            faults.append(f"{name} is not what was written")
    if manifest.get("audit") != folder.name:
        faults.append(f"the manifest is of audit {manifest.get('audit')}")
    if public is None:
        return Checked(faults=tuple(faults), signed=False, left_out=tuple(left_out))
    return Checked(faults=(*faults, *_signature(folder, content, public)), signed=True, left_out=tuple(left_out))


def _signature(folder: Path, content: bytes, public: bytes) -> tuple[str, ...]:
    from monitor.audits.signing import good_signature

    try:
        signature = (folder / SIGNATURE).read_bytes()
    except OSError:
        return (f"{SIGNATURE} is not there: nobody signed this audit",)
    if good_signature(content, signature, public):
        return ()
    return (f"{SIGNATURE} is not this key's, or the manifest is not what was signed",)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
