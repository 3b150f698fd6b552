"""What a deployer wants served, on disk: for a server that comes back without it, and for whoever acts next."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deploy.durable import write_whole
from deploy.errors import DeployerUnavailable, Fenced, StageError

__all__ = ["Entry", "Ledger"]

_LOCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the ledger says.

    Attributes:
        desired: Release that is to take traffic, ``""`` before the first promotion.
        path: Its folder.
        fence: Number of the last takeover, where the servers keep none themselves.
        holder: Who took over.
        claimed_at: When, UTC in ISO format.
    """

    desired: str = ""
    path: str = ""
    fence: int = 0
    holder: str = ""
    claimed_at: str = ""


class Ledger:
    """A small file, written whole or not at all. Changes to it exclude each other, over processes too."""

    def __init__(self, file: Path) -> None:
        """Take where it is; it need not be there yet."""
        self._file = file

    def read(self) -> Entry:
        """Read what is wanted.

        Raises:
            StageError: The file is damaged.
        """
        try:
            return Entry(**json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Entry()
        except (OSError, ValueError, TypeError) as error:
            raise StageError(f"{self._file} is damaged; delete it, then promote the release again") from error

    async def want(self, release: str, path: Path) -> None:
        """Write down what is to take traffic.

        Raises:
            DeployerUnavailable: The disk is full, or another change is under way.
        """
        async with self.locked():
            self._write(replace(self.read(), desired=release, path=str(path)))

    async def claim(self, holder: str, at: str) -> int:
        """Take over: every change with a lower fence is refused from now on."""
        async with self.locked():
            entry = self.read()
            self._write(replace(entry, fence=entry.fence + 1, holder=holder, claimed_at=at))
            return entry.fence + 1

    def require(self, fence: int) -> None:
        """Refuse a fence that is over.

        Raises:
            Fenced: Somebody took over since.
        """
        entry = self.read()
        if fence < entry.fence:
            raise Fenced(
                f"fence {fence} is over: holder {entry.holder} took over at {entry.claimed_at} with fence "
                f"{entry.fence}; let one daemon alone change these servers"
            )

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Exclude other changes; the lock ends with the process.

        Raises:
            DeployerUnavailable: Another change holds it for too long, or the folder can't be written.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            opened = os.open(self._file.with_name(f"{self._file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DeployerUnavailable(f"{self._file.parent} can't be written ({error}); mend state_file") from error
        try:
            await self._take(opened)
            yield
        finally:
            os.close(opened)

    async def _take(self, opened: int) -> None:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() > end:
                    raise DeployerUnavailable(f"another change holds {self._file}; ask again") from error
                await asyncio.sleep(0.05)
            else:
                return

    def _write(self, entry: Entry) -> None:
        try:
            write_whole(self._file, json.dumps(asdict(entry)))
        except OSError as error:
            raise DeployerUnavailable(f"{self._file} can't be written ({error}); free space, then ask again") from error
