"""What is to be served, on disk: written whole before it is true in memory, read at the next start."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from alignd_vllm.errors import Reason, Refused, StartError

__all__ = ["Kept", "Record", "admin_token", "lock_folder", "read_record", "write_record"]

_FILE = "state.json"
_TOKEN_LENGTH_MIN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A release that is loaded.

    Attributes:
        sha256: Its digest, in full.
        path: Its folder in the release store, where the copy came from.
    """

    release: str
    sha256: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is to be served.

    Attributes:
        base: Release that the server runs.
        active: Release that the public name means; the base's id where it means no adapter.
        previous: Release that it meant before, ``""`` if there is none to go back to.
        fence: Number of the last takeover; a change that carries a lower one is refused.
        holder: Who took over.
        claimed_at: When, UTC in ISO format.
        kept: The adapters that are loaded, in order of loading.
    """

    base: str
    active: str
    previous: str = ""
    fence: int = 0
    holder: str = ""
    claimed_at: str = ""
    kept: tuple[Kept, ...] = ()

    def find(self, release: str) -> Kept | None:
        """Return the entry of this adapter, if it is loaded."""
        return next((k for k in self.kept if k.release == release), None)


def read_record(folder: Path, *, base: str) -> Record:
    """Read the record; a new one, that serves the base, where there is none.

    Raises:
        StartError: It is damaged, or belongs to another base.
    """
    file = folder / _FILE
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        kept = tuple(Kept(**k) for k in said.pop("kept"))
        found = Record(**said, kept=kept)
    except FileNotFoundError:
        return Record(base=base, active=base)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(file, base) from error
    texts = [found.base, found.active, found.previous, *(v for k in kept for v in (k.release, k.sha256, k.path))]
    if not all(isinstance(t, str) for t in texts) or type(found.fence) is not int:
        raise _damaged(file, base)
    if found.base != base:
        raise StartError(
            f"{file} says that adapters of {found.base} are served, the server runs {base}; start it with that model, "
            f"or delete the file to serve {base} as it is"
        )
    return found


def _damaged(file: Path, base: str) -> StartError:
    return StartError(
        f"{file} is damaged, so nobody knows what is to be served; delete it to serve {base} as it is, then promote a "
        "release"
    )


def write_record(folder: Path, record: Record) -> None:
    """Write the record, whole or not at all.

    Raises:
        Refused: The disk is full or the folder can't be written; the old record is in force.
    """
    scratch = folder / f"{_FILE}.partial"
    try:
        with scratch.open("w", encoding="utf-8") as out:
            json.dump(asdict(record), out)
            out.flush()
            os.fsync(out.fileno())
        scratch.rename(folder / _FILE)
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        raise Refused(
            Reason.DISK, f"{folder / _FILE} can't be written ({error.strerror or error}); free space, then ask again"
        ) from error


def lock_folder(folder: Path) -> int:
    """Take the state folder for this process alone; the lock ends with the process.

    Returns:
        The open file that holds the lock.

    Raises:
        StartError: Another server has it, others may write to it, or it can't be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"{folder} can't be written ({error.strerror or error}); mend ALIGND_VLLM_STATE") from error
    if folder.stat().st_mode & 0o022:
        os.close(opened)
        raise StartError(f"{folder} can be written by others, who could change what is loaded; chmod 700 {folder}")
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(opened)
        raise StartError(f"{folder} is in use by another server; give each its own ALIGND_VLLM_STATE") from error
    return opened


def admin_token(file: Path) -> str:
    """Read the admin token; one is made, readable by its owner only, where there is none or it was cut short.

    Raises:
        StartError: It can't be written.
    """
    token = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    if len(token) >= _TOKEN_LENGTH_MIN:
        return token
    token, scratch = secrets.token_urlsafe(32), file.with_name(f"{file.name}.partial")
    try:
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(token)
            out.flush()
            os.fsync(out.fileno())
        scratch.rename(file)
    except OSError as error:
        raise StartError(f"{file} can't be written ({error.strerror or error}); mend ALIGND_VLLM_TOKEN_FILE") from error
    return token
