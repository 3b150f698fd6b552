"""Changes of weights as the deployer sees them: planned in the journal, made by guards, never two at a time."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

from deploy.errors import StageError
from deploy.vllm.reload_guard import BUSY
from deploy.vllm.reload_journal import Journal, Swap, alone

__all__ = ["Changes"]

log = logging.getLogger("alignd.reload")

_BUSY_SECONDS = 0.5
_GUARDS = 3
"""So many guards in a row may die over one change before a person is asked."""


class Changes:
    """The changes of one server; its state folder holds the journal."""

    def __init__(self, state: Path, *, seconds: float) -> None:
        """Take the folder, and how long one change may take."""
        self._state = state
        self._seconds = seconds

    async def make(self, swap: Swap) -> Journal:
        """Make a change and return how it ended.

        Raises:
            StageError: Another process makes changes now, or this one does not end.
        """
        with alone(self._state) as mine:
            begun = Journal.read(self._state)
            if not mine or (begun and not begun.outcome):
                raise StageError("another process changes this server's weights now; ask again when it is done")
            Journal(swap=swap).write(self._state)
        return await self.settle() or Journal(swap=swap)

    async def settle(self) -> Journal | None:
        """Have guards work until the newest change has ended; one that dies is followed by another.

        Returns:
            How it ended; ``None`` where there never was one.

        Raises:
            StageError: It does not end.
        """
        end, died = time.monotonic() + self._seconds, 0
        while (journal := Journal.read(self._state)) and not journal.outcome:
            status = await self._guard()
            if status == BUSY:
                await asyncio.sleep(_BUSY_SECONDS)
            elif status:
                died += 1
                log.warning("guard_died with status %s at step %s", status, journal.step.value)
            if died >= _GUARDS or time.monotonic() > end:
                raise StageError(
                    f"a change of weights to {journal.swap.new.release} does not end (step {journal.step.value}); "
                    f"look at {self._state / 'guard.log'}, then restart the server"
                )
        return journal

    async def recover(self) -> None:
        """End a change that no guard works on; leave one alone that is under way."""
        journal = Journal.read(self._state)
        if journal and not journal.outcome:
            await self._guard()

    async def _guard(self) -> int:
        """Run a guard to its end; where the caller dies it goes on."""
        with (self._state / "guard.log").open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "deploy.vllm.reload_guard", str(self._state.resolve()),
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        return await process.wait()
