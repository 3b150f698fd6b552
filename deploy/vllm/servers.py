"""The server processes of the supervisor: started, found, replaced and stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from deploy.checkpoint import Release, find_release
from deploy.errors import DeployError, DeployerUnavailable
from deploy.retention import using_store
from deploy.vllm.child import Child, ChildCommand, start_child
from deploy.vllm.traffic import Traffic

__all__ = ["Servers"]

log = logging.getLogger("alignd.supervisor")

_DRAIN_SECONDS = 60.0


class Servers:
    """One server for each release that is up. Changes of one release wait for each other under its ``lock``."""

    def __init__(
        self, *, traffic: Traffic, releases: Path, logs: Path, name: str, command: ChildCommand, start_seconds: float,
        verify: Callable[[Release], None], window_seconds: float | None,
    ) -> None:  # fmt: skip
        """Take what ``Supervisor`` takes, and who gets the traffic."""
        self._traffic = traffic
        self._releases = releases
        self._logs = logs
        self.name = name
        self._command = command
        self._start_seconds = start_seconds
        self._verify = verify
        self._children: dict[str, Child] = {}
        self._leaving: list[Child] = []
        """Servers that were replaced and end their last requests."""
        self._locks: dict[str, asyncio.Lock] = {}
        self._starting = asyncio.Lock()
        self._window_seconds = window_seconds
        self._window_ends = 0.0

    @property
    def running(self) -> list[Child]:
        """The servers that are up, those that were replaced left out."""
        return [c for c in self._children.values() if c.running]

    def find(self, release_id: str) -> Child | None:
        """Return a release's server, if it runs."""
        child = self._children.get(release_id)
        return child if child and child.running else None

    def wanted(self) -> Child | None:
        """Return the server that should take traffic, if it runs; none while users are kept from it."""
        record = self._traffic.record
        return None if record.withheld else self.find(record.desired)

    def require(self, release_id: str) -> Child:
        """Return a release's server.

        Raises:
            DeployerUnavailable: It does not run.
        """
        if child := self.find(release_id):
            return child
        raise DeployerUnavailable(f"release {release_id} was stopped in between; ask again")

    def lock(self, release_id: str) -> asyncio.Lock:
        """Return what the changes of one release wait on."""
        return self._locks.setdefault(release_id, asyncio.Lock())

    async def up(self, release_id: str, admit: Callable[[], None]) -> Child:
        """Start a release's server where there is none, under its lock.

        Args:
            release_id: Release.
            admit: Raises where the change may not be made any more; asked right before something is done.
        """
        await self.bury()
        if child := self._children.get(release_id):
            return child
        child = self._children[release_id] = await self._start(release_id, admit)
        return child

    async def renew(self, release_id: str, admit: Callable[[], None]) -> Child:
        """Start a release's server afresh, under its lock; users go over, then the old one drains and is stopped.

        Where the new one does not come up, the old one stays as it is; with memory for one server it is gone by then.

        Raises:
            CheckpointError: The release's files are not what its manifest says.
            StageError: The new server did not come up.
            DeployerUnavailable: It was killed, or the front does not send users over.
        """
        old, new = self._children.get(release_id), await self._start(release_id, admit)
        try:
            admit()
            put = partial(self._put, release_id)
            await self._traffic.swap(partial(put, new), partial(put, old), self.wanted)
        except BaseException:
            await new.stop(drain_seconds=0.0)
            raise
        log.warning("renewed release %s", release_id)
        if old and self._window_seconds is None:
            await self._leave(old)
        return new

    async def stop(self, release_id: str) -> None:
        """Drain and stop a release's server, under its lock."""
        if child := self._children.pop(release_id, None):
            await self._leave(child)

    def missing(self) -> bool:
        """Whether the desired release should be up and is not; another one may be looked at in its place for a time."""
        in_turn = self._window_seconds is not None and self._starting.locked()
        looked_at = time.monotonic() < self._window_ends and bool(self.running)
        desired = self._traffic.record.desired
        return bool(desired) and not (self.find(desired) or in_turn or looked_at)

    async def bury(self) -> None:
        """Forget servers that died, and end what they left behind: it still holds their memory."""
        for child in [c for c in self._children.values() if not c.running]:
            log.warning("died release %s, exit code %s", child.release.id, child.process.returncode)
            await child.stop(drain_seconds=0.0)
            if self._children.get(child.release.id) is child:
                del self._children[child.release.id]

    async def aclose(self) -> None:
        """Stop all servers."""
        await asyncio.gather(*(c.stop(drain_seconds=30.0) for c in (*self._children.values(), *self._leaving)))
        self._children.clear()

    async def _start(self, release_id: str, admit: Callable[[], None]) -> Child:
        """Start a server. One starts at a time; the desired release's, users wait for, at once."""
        at_once = release_id == self._traffic.record.desired and self._window_seconds is None
        async with nullcontext() if at_once else self._starting:
            with using_store(self._releases):
                release = find_release(self._releases, release_id)
                await asyncio.to_thread(self._verify, release)
                admit()
                if self._window_seconds is not None:
                    await self._make_room()
                child = await start_child(
                    release, command=self._command, name=self.name, logs=self._logs,
                    timeout_seconds=self._start_seconds,
                )  # fmt: skip
                self._window_ends = time.monotonic() + (self._window_seconds or 0.0)
                return child

    async def _make_room(self) -> None:
        """Stop what runs, for there is memory for one server; users are told to come back."""
        stopped, self._children = self._children, {}
        try:
            await self._traffic.stop()
        except DeployError:
            self._children = stopped
            raise
        for child in stopped.values():
            log.warning("maintenance_began release %s is stopped to make room", child.release.id)
            await self._leave(child)

    async def _leave(self, child: Child) -> None:
        self._leaving.append(child)
        try:
            await self._traffic.front.drain(child, seconds=_DRAIN_SECONDS)
            await child.stop(drain_seconds=0.0)
        finally:
            if not child.running:
                self._leaving.remove(child)

    def _put(self, release_id: str, child: Child | None) -> None:
        if child:
            self._children[release_id] = child
        else:
            self._children.pop(release_id, None)
