"""The supervisor: keeps vLLM servers up, one of them behind the front, and does what the deployer asks.

It lives apart from the daemon, so a daemon that dies changes nothing of what is served. What is to be served is
written down before it is done and asserted again at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from deploy.checkpoint import Release, find_release, verify_release
from deploy.durable import clear_scratch
from deploy.errors import CheckpointError, DeployError, DeployerUnavailable, StageError
from deploy.record import PromotionRecord, read_record, write_record
from deploy.retention import using_store
from deploy.vllm.child import Child, ChildCommand, read_metrics, require_answer, start_child
from deploy.vllm.front import Front
from deploy.vllm.relay import RelayFront

__all__ = ["Supervisor"]

log = logging.getLogger("alignd.supervisor")

_BACKOFF_SECONDS_MAX = 60.0


class Supervisor:
    """Owns the server processes. Changes of one release wait for each other; reading the state never waits."""

    def __init__(
        self, *, releases: Path, state: Path, name: str, command: ChildCommand, start_seconds: float = 600.0,
        verify: Callable[[Release], None] = verify_release, front: Front | None = None,
        window_seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Take the release store, a folder for state and logs, the served name and how to start a server.

        Args:
            verify: Looks at a release before each start; raises a ``CheckpointError`` where it is not fit.
            front: What stands before the servers; without one the supervisor relays users' requests itself.
            window_seconds: Where memory is for one server only: for how long users may be without a release while
                another one is staged; then the old one is brought back. ``None``: servers stand side by side.
        """
        self._releases = releases
        self._state = state
        self._name = name
        self._command = command
        self._start_seconds = start_seconds
        self._verify = verify
        self._children: dict[str, Child] = {}
        for folder in (state, releases):
            clear_scratch(folder)
        self._record = read_record(state / "desired.json")
        self._locks: dict[str, asyncio.Lock] = {}
        self._starting = asyncio.Lock()
        self._flipping = asyncio.Lock()
        self.front: Front = front or RelayFront()
        self._steered: Child | None = None
        self._window_seconds = window_seconds
        self._window_ends = 0.0

    @property
    def active(self) -> Child | None:
        """The server that takes traffic, as the front says.

        Raises:
            DeployerUnavailable: The front can't be asked.
        """
        child = self.front.serving
        return child if child and child.running else None

    @property
    def _wanted(self) -> Child | None:
        """The server that should take traffic, if it runs."""
        child = self._children.get(self._record.desired)
        return child if child and child.running else None

    def state(self) -> dict[str, object]:
        """Say what is up, in plain values."""
        active = self.active
        return {
            **self._record.to_json(),
            "active": active.release.id if active else "",
            "desired": self._record.desired,
            "up": [
                {"release": c.release.id, "endpoint": c.endpoint, "takes_traffic": c is active}
                for c in self._children.values()
                if c.running
            ],
        }

    def claim(self, holder: str) -> dict[str, object]:
        """Let a deployer take over: changes of those before it are refused from now on."""
        self._write(self._record.claimed(holder, at=datetime.now(UTC)))
        log.info("claimed by %s, fence %d", holder, self._record.fence)
        return {"fence": self._record.fence}

    async def stage(self, release_id: str, fence: int) -> dict[str, object]:
        """Bring a release up without traffic.

        Raises:
            CheckpointError: Its files are not what the manifest says.
            StageError: It did not come up; ``DeployerUnavailable`` where its server was killed.
            Fenced: A later deployer has taken over.
        """
        self._admit(fence)
        async with self._lock(release_id):
            await self._up(release_id)
        return self._served(release_id)

    async def promote(self, release_id: str, fence: int) -> dict[str, object]:
        """Give a release all new traffic; the one before stays up.

        A release that is up takes over at once, however long another one's staging takes.
        """
        self._admit(fence)
        child = await self._ready(release_id)
        await self._flip(child, partial(self._promoted, release_id, fence))
        log.info("promoted release %s", release_id)
        return self._served(release_id)

    async def roll_back(self, fence: int) -> dict[str, object]:
        """Give the traffic back to the nearest earlier release that is up, or is in the store and comes up.

        Raises:
            StageError: There is none.
            Fenced: A later deployer has taken over.
        """
        self._admit(fence)
        faults = []
        for release_id in self._record.earlier:
            try:
                child = await self._ready(release_id)
            except (CheckpointError, StageError) as error:
                faults.append(str(error))
                continue
            await self._flip(child, partial(self._rolled_back, release_id, fence))
            log.info("rolled_back to release %s", release_id)
            return self._served(release_id)
        raise StageError("no earlier release to go back to; promote one" + "".join(f"\n{f}" for f in faults))

    async def retire(self, release_id: str, fence: int) -> dict[str, object]:
        """Drain and stop a release.

        Raises:
            StageError: It takes traffic.
            Fenced: A later deployer has taken over.
        """
        self._admit(fence)
        async with self._lock(release_id):
            self._admit(fence)
            if release_id == self._record.desired:
                raise StageError(f"release {release_id} takes traffic; promote another one first")
            if child := self._children.pop(release_id, None):
                await self.front.drain(child, seconds=60.0)
                await child.stop(drain_seconds=0.0)
        return self.state()

    async def metrics(self) -> str:
        """Return what the front refused, and the active server's own metrics where there is one that shows them."""
        refused = self.front.refused
        text = "Users' requests that the front answered in a server's place"
        own = refused.page("alignd_front_refused_requests_total", text) if refused else ""
        return own + (await read_metrics(self._wanted) if self._wanted else "")

    async def keep_up(self) -> None:
        """Bring the desired release up and before users now and whenever its server dies, with growing pauses."""
        pause = 1.0
        while True:
            await self._bury()
            try:
                if self._missing():
                    async with self._lock(self._record.desired):
                        if self._missing():
                            await self._up(self._record.desired)
                async with self._flipping:
                    if self._wanted is not self._steered:
                        await self._switch(self._wanted)
                pause = 1.0
            except (DeployError, OSError) as error:
                log.error("restart_failed %s", error)
                pause = min(pause * 2, _BACKOFF_SECONDS_MAX)
            await asyncio.sleep(pause if self._missing() else 0.5)

    async def aclose(self) -> None:
        """Stop all servers."""
        await asyncio.gather(*(c.stop(drain_seconds=30.0) for c in self._children.values()))
        self._children.clear()

    def _lock(self, release_id: str) -> asyncio.Lock:
        """Return what the changes of one release wait on."""
        return self._locks.setdefault(release_id, asyncio.Lock())

    async def _ready(self, release_id: str) -> Child:
        """Bring a release up where it is not; one that is waits for nothing but a token, which one that hangs owes."""
        child = self._children.get(release_id)
        if not (child and child.running):
            async with self._lock(release_id):
                return await self._up(release_id)
        if child is not self._steered:
            await require_answer(child, self._name)
        return child

    async def _up(self, release_id: str) -> Child:
        """Start a release's server, under its lock. One starts at a time; the desired one, users wait for, at once."""
        await self._bury()
        if child := self._children.get(release_id):
            return child
        at_once = release_id == self._record.desired and self._window_seconds is None
        async with nullcontext() if at_once else self._starting:
            with using_store(self._releases):
                release = find_release(self._releases, release_id)
                await asyncio.to_thread(self._verify, release)
                if self._window_seconds is not None:
                    await self._make_room()
                child = await start_child(
                    release, command=self._command, name=self._name, logs=self._state / "logs",
                    timeout_seconds=self._start_seconds,
                )  # fmt: skip
                self._window_ends = time.monotonic() + (self._window_seconds or 0.0)
                self._children[release_id] = child
                return child

    async def _make_room(self) -> None:
        """Stop what runs, for there is memory for one server; users are told to come back."""
        stopped, self._children = self._children, {}
        try:
            async with self._flipping:
                await self._switch(None)
        except DeployError:
            self._children = stopped
            raise
        for child in stopped.values():
            log.warning("maintenance_began release %s is stopped to make room", child.release.id)
            await self.front.drain(child, seconds=60.0)
            await child.stop(drain_seconds=0.0)

    def _missing(self) -> bool:
        """Whether the desired release should be up and is not; another one may be looked at in its place for a time."""
        in_turn = self._window_seconds is not None and self._starting.locked()
        looked_at = time.monotonic() < self._window_ends and any(c.running for c in self._children.values())
        return bool(self._record.desired) and not (self._wanted or in_turn or looked_at)

    def _promoted(self, release_id: str, fence: int) -> PromotionRecord:
        return self._record.admits(fence).promoted(release_id, at=datetime.now(UTC))

    def _rolled_back(self, release_id: str, fence: int) -> PromotionRecord:
        return self._record.admits(fence).rolled_back(release_id, at=datetime.now(UTC))

    async def _flip(self, child: Child, change: Callable[[], PromotionRecord]) -> None:
        """Write down who gets the traffic, and have the front do it; where it does not, everything is as before."""
        async with self._flipping:
            before = self._record
            self._write(change())
            try:
                await self._switch(child)
            except DeployError:
                self._write(replace(self._record, desired=before.desired, history=before.history))
                with suppress(DeployError):
                    await self._switch(self._wanted)
                raise

    async def _switch(self, child: Child | None) -> None:
        self._steered = child
        await self.front.switch(child)

    async def _bury(self) -> None:
        """Forget servers that died, and end what they left behind: it still holds their memory."""
        for child in [c for c in self._children.values() if not c.running]:
            log.warning("died release %s, exit code %s", child.release.id, child.process.returncode)
            await child.stop(drain_seconds=0.0)
            if self._children.get(child.release.id) is child:
                del self._children[child.release.id]

    def _served(self, release_id: str) -> dict[str, object]:
        child = self._children.get(release_id)
        if child is None:
            raise DeployerUnavailable(f"release {release_id} was stopped in between; ask again")
        return {"release": release_id, "endpoint": child.endpoint, "takes_traffic": child is self.active}

    def _admit(self, fence: int) -> None:
        """Refuse a deployer that was replaced; take over a fence that this record has lost."""
        if (record := self._record.admits(fence)) != self._record:
            self._write(record)

    def _write(self, record: PromotionRecord) -> None:
        write_record(self._state / "desired.json", record)
        self._record = record
