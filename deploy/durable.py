"""Files and folders that are there whole or not at all, whatever ends the process; and who works on them.

A scratch folder (``.NAME.XXXXXXXX.partial``) is locked by the process that fills it. The kernel lets go of the lock
when that process ends, however it ends: what nobody holds is waste, and the next one to look clears it away.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from uuid import uuid4

from deploy.errors import CheckpointError, StoreInUse

__all__ = ["clear_scratch", "held", "new_file", "new_folder", "remove_folder", "write_whole"]

log = logging.getLogger("alignd")

_PARTIAL = ".partial"


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file beside its place, flush it, and rename it: a reader sees the old content or the new one.

    Args:
        path: The file.
        content: Bytes, or text for UTF-8.
        private: Whether its owner alone may read it, from the first byte on.

    Raises:
        OSError: It can't be written; the old file is as it was.
    """
    with new_file(path, private=private) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def new_file(final: Path, *, private: bool = False) -> Iterator[Path]:
    """Give an empty scratch file that becomes ``final`` in one rename, or vanishes on any error.

    Raises:
        OSError: It can't be written.
    """
    scratch = final.with_name(f".{final.name}.{uuid4().hex[:8]}{_PARTIAL}")
    opened = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    try:
        _share(opened)
        yield scratch
        os.fsync(opened)
        scratch.rename(final)
        _flush(final.parent)
    finally:
        os.close(opened)
        scratch.unlink(missing_ok=True)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give a scratch folder that becomes ``final`` in one rename, or vanishes on any error.

    Raises:
        CheckpointError: The disk is full, the place can't be written, or is taken.
    """
    scratch, lock = final, -1
    try:
        scratch, lock = _locked_scratch(final)
        yield scratch
        for path in (*scratch.rglob("*"), scratch):
            if path.is_file() or path.is_dir():
                _flush(path)
        scratch.rename(final)
        _flush(final.parent)
    except OSError as error:
        raise CheckpointError(
            f"{final}: can't be written ({error.strerror or error}); free space or choose another place, "
            "nothing was left behind"
        ) from error
    finally:
        if scratch != final:
            shutil.rmtree(scratch, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def clear_scratch(folder: Path, *, of: str = "") -> tuple[str, ...]:
    """Remove scratch that no process holds any more: what a killed import, removal or write left.

    Args:
        folder: Where it lies.
        of: The name of what it was to become, where not everything in the folder is ours.

    Returns:
        Names of what was removed.
    """
    removed: list[str] = []
    for path in sorted(folder.glob(f".{escape(of) or '*'}.*{_PARTIAL}")) if folder.is_dir() else ():
        if path.is_symlink() or not _remove_where_free(path):
            continue
        removed.append(path.name)
        log.info("scratch_removed", extra={"folder": str(folder), "scratch": path.name})
    return tuple(removed)


def remove_folder(path: Path) -> None:
    """Remove a folder: it vanishes in one rename, and what a crash leaves after that is scratch.

    Raises:
        OSError: It can't be moved.
    """
    scratch = path.with_name(f".{path.name}.{uuid4().hex[:8]}{_PARTIAL}")
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _share(lock)
        path.rename(scratch)
        _flush(path.parent)
        shutil.rmtree(scratch, ignore_errors=True)
    finally:
        os.close(lock)


@contextmanager
def held(path: Path, *, alone: bool, what: str) -> Iterator[None]:
    """Hold a folder or a lock file, alone or with others, until the block or the process ends.

    Args:
        what: What is in use where it can't be had, for the message.

    Raises:
        StoreInUse: Somebody else holds it.
        CheckpointError: It is not there or can't be read.
    """
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be opened ({error.strerror}); make it, or mend its rights") from error
    try:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreInUse(f"{what} is in use by another process; wait until it has ended, then ask again") from error
        except OSError as error:
            if alone:
                raise StoreInUse(f"{what}: its file system knows no locks ({error.strerror}); do it by hand") from error
        yield
    finally:
        os.close(lock)


def _share(lock: int) -> None:
    """Hold scratch while it is filled; where the file system knows no locks, nobody can clear it away either."""
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_SH)


def _locked_scratch(final: Path) -> tuple[Path, int]:
    """Make a scratch folder and hold it; one that was cleared away before it was held is made again."""
    while True:
        scratch = final.parent / f".{final.name}.{uuid4().hex[:8]}{_PARTIAL}"
        scratch.mkdir(parents=True)
        try:
            lock = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        _share(lock)
        if scratch.is_dir():
            return scratch, lock
        os.close(lock)


def _remove_where_free(path: Path) -> bool:
    """Remove scratch under a lock of its own; ``False`` where a process holds it, or its place knows no locks."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
