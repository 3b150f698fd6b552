"""A world that outlives its daemon: what is served lies in a file, so that the process can be killed at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from deploy.checkpoint import Release, find_release, import_checkpoint
from deploy.deployer import Quarantine, ServedRelease
from deploy.durable import write_whole
from deploy.testing import FakeDeployer
from monitor.guard import Guard
from monitor.measure import Measure
from monitor.policy import Schedule
from monitor.schedule import Rounds
from monitor.service import Service
from monitor.site import Site
from monitor.stores.sql import SqlStore
from tests.fake_site import Clock, Ways, World, write_checkpoint

__all__ = ["LastingDeployer", "LastingWorld", "Points", "live"]

_LOOK_SECONDS = 0.02
T = TypeVar("T")


class Points:
    """Counts the moments between which something outside changes, and dies at one of them as by SIGKILL."""

    def __init__(self, kill_at: int | None) -> None:
        """Take the moment to die at, counted from 1; ``None`` for none."""
        self.seen = 0
        self._kill_at = kill_at

    def __call__(self, _: str = "") -> None:
        """Pass a moment."""
        self.seen += 1
        if self.seen == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class WallClock(Clock):
    """The time of day, for processes that follow each other."""

    def __call__(self) -> datetime:
        """Look."""
        self.now = datetime.now(UTC)
        return self.now


class LastingDeployer(FakeDeployer):
    """The fake deployer with its state in a file: a change is there whole or not at all, whoever dies."""

    def __init__(self, file: Path, releases: Path, point: Callable[[str], None]) -> None:
        """Take the file, the release store, and what is called before and after each change."""
        super().__init__()
        self._file, self._releases, self._point = file, releases, point
        if file.exists():
            self._read()

    async def stage(self, release: Release) -> ServedRelease:
        """Bring a release up without traffic."""
        return await self._changing("stage", super().stage(release))

    async def promote(self, release: Release) -> ServedRelease:
        """Give a release all new traffic."""
        return await self._changing("promote", super().promote(release))

    async def quarantine(self, why: str) -> None:
        """Give nobody an answer."""
        await self._changing("quarantine", super().quarantine(why))

    async def lift(self) -> None:
        """Give users the release again that they had before."""
        await self._changing("lift", super().lift())

    async def retire(self, release: str) -> None:
        """Stop a release that takes no traffic."""
        await self._changing("retire", super().retire(release))

    def serve(self, release: Release) -> None:
        """Put a release into service behind the port's back."""
        super().serve(release)
        self._write()

    async def _changing(self, verb: str, change: Awaitable[T]) -> T:
        self._point(verb)
        done = await change
        self._write()
        self._point(f"{verb} done")
        return done

    def _read(self) -> None:
        said = json.loads(self._file.read_text())
        self.active = said["active"]
        self.effects = [(verb, release) for verb, release in said["effects"]]
        self.up = {release: find_release(self._releases, release) for release in said["up"]}
        self.quarantined = Quarantine(**said["quarantined"]) if said["quarantined"] else None

    def _write(self) -> None:
        kept_out = asdict(self.quarantined) if self.quarantined else None
        said = {"active": self.active, "effects": self.effects, "up": list(self.up), "quarantined": kept_out}
        write_whole(self._file, json.dumps(said))


@dataclass(kw_only=True)
class LastingWorld(World):
    """The small world of the monitor's tests, on a folder that is there already at the next start."""

    url: str = ""
    points: Points | None = None

    def __post_init__(self) -> None:
        """Make the releases, or find them; the good one serves first."""
        self.points = self.points or Points(None)
        self.clock = WallClock()
        self.deployer = LastingDeployer(self.folder / "served.json", self.folder / "releases", self.points)
        self.hook = self.points
        super().__post_init__()
        self.deployer.hook = _nothing

    def release(self, name: str, ways: Ways) -> Release:
        """Make a release, or find it."""
        source = self.folder / "sources" / name
        if not source.exists():
            write_checkpoint(source, replace(ways, mark=name))
        return import_checkpoint(source, self.folder / "releases", name=name, created_at=self.clock())

    def site(self) -> Site:
        """A site that is probed many times a second."""
        fast = Schedule(interval_seconds=0.2, batch=8, burst_interval_seconds=0.1, burst_batch=16)
        return replace(super().site(), schedule=fast)

    def measure(self) -> Measure:
        """Measures under names that no process before it gave."""
        return replace(super().measure(), new_id=lambda: uuid4().hex)

    def service(self) -> Service:
        """A new process on the same store."""
        store = SqlStore(self.url)
        return Service(sites={"prod": self.amend(self.site(), store)}, store=store, clock=self.clock)


def _nothing(_: str) -> None:
    return None


async def live(world: LastingWorld) -> None:
    """Be the daemon until the first incident has ended and users are served."""
    service = world.service()
    service.store.hold()
    await service.prepare()
    lost = asyncio.Event()
    rounds = Rounds(service, Guard(lost))
    rounds.start()
    while not lost.is_set() and not _over(world, service):
        await asyncio.sleep(_LOOK_SECONDS)
    await rounds.stop()
    await service.aclose()


def _over(world: LastingWorld, service: Service) -> bool:
    """Whether nothing is left to be done: who is left out by an incident that has ended waits for a person's lift."""
    ended = any(i.closed for i in service.store.incidents())
    return ended and world.deployer.quarantined is None and not service.store.lifts()
