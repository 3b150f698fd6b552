"""Which server users' requests go to: written down first, then done by the front, and undone where the front can't."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deploy.errors import DeployError
from deploy.record import PromotionRecord, read_record, write_record
from deploy.vllm.child import Child
from deploy.vllm.front import Front

__all__ = ["Traffic"]


class Traffic:
    """Keeps the record of what is to be served and tells the front; one change at a time."""

    def __init__(self, *, file: Path, front: Front) -> None:
        """Take the record's file and the front.

        Raises:
            StageError: The record is damaged.
        """
        self._file = file
        self.front = front
        self.record = read_record(file)
        self.steered: Child | None = None
        """The server that the front was told of last."""
        self._said = ""
        self._changing = asyncio.Lock()

    def admit(self, fence: int) -> None:
        """Refuse a deployer that was replaced; take over a fence that this record has lost.

        Raises:
            Fenced: A later deployer has taken over.
        """
        if (record := self.record.admits(fence)) != self.record:
            self.write(record)

    def write(self, record: PromotionRecord) -> None:
        """Write the record down.

        Raises:
            StageError: It can't be written; the one before is in force.
        """
        write_record(self._file, record)
        self.record = record

    async def flip(
        self, take: Callable[[], Child], change: Callable[[], PromotionRecord], wanted: Callable[[], Child | None]
    ) -> None:
        """Write down who gets the traffic, and have the front do it; where it does not, everything is as before.

        Args:
            take: Gives the server, as it is once no other change is under way.
            change: Gives the new record.
            wanted: Gives the server of the record's desired release, if it runs.

        Raises:
            DeployerUnavailable: The front does not do it.
            StageError: It can't be written down.
            Fenced: A later deployer has taken over.
        """
        async with self._changing:
            child, before = take(), self.record
            self.write(change())
            try:
                await self._switch(child)
            except DeployError:
                now = replace(self.record, desired=before.desired, history=before.history)
                self.write(replace(now, withheld=before.withheld))
                with suppress(DeployError):
                    await self._switch(wanted())
                raise

    async def swap(self, do: Callable[[], None], undo: Callable[[], None], wanted: Callable[[], Child | None]) -> None:
        """Change who serves the desired release, with the record as it is; undone where the front does not follow."""
        async with self._changing:
            do()
            try:
                await self._switch(wanted())
            except BaseException:
                undo()
                with suppress(DeployError):
                    await self._switch(wanted())
                raise

    async def follow(self, wanted: Callable[[], Child | None]) -> None:
        """Tell the front of the server that should take traffic, where it is not the one it was told of."""
        async with self._changing:
            if (child := wanted()) is not self.steered or self.record.withheld != self._said:
                await self._switch(child)

    async def rewrite(self, change: Callable[[], PromotionRecord], wanted: Callable[[], Child | None]) -> None:
        """Write down whether anybody is to be served, and have the front do it; where it does not, it is tried again.

        Args:
            change: Gives the new record.
            wanted: Gives the server that users get by it, as it is then; none where they are kept out.

        Raises:
            DeployerUnavailable: The front does not do it.
            StageError: It can't be written down.
            Fenced: A later deployer has taken over.
        """
        async with self._changing:
            self.write(change())
            await self._switch(wanted())

    async def stop(self) -> None:
        """Send requests to no server."""
        async with self._changing:
            await self._switch(None)

    async def _switch(self, child: Child | None) -> None:
        self.steered, self._said = child, self.record.withheld
        await self.front.switch(child, why=self.record.withheld)
