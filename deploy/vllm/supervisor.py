"""The supervisor: keeps vLLM servers up, one of them behind a front, and does what the deployer asks.

It lives apart from the daemon, so a daemon that dies changes nothing of what is served. What is to be served is
written down before it is done and asserted again at the next start.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import httpx

from deploy.checkpoint import find_release, verify_release
from deploy.errors import DeployError, StageError
from deploy.vllm.child import Child, ChildCommand, start_child
from deploy.vllm.front import Front
from deploy.vllm.relay import RelayFront

__all__ = ["Supervisor"]

log = logging.getLogger("alignd.supervisor")

_BACKOFF_SECONDS_MAX = 60.0
_METRICS_SECONDS = 2.0


class Supervisor:
    """Owns the server processes. One change at a time; reading the state never waits."""

    def __init__(
        self,
        *,
        releases: Path,
        state: Path,
        name: str,
        command: ChildCommand,
        start_seconds: float = 600.0,
        front: Front | None = None,
        window_seconds: float | None = None,
    ) -> None:
        """Take the release store, a folder for state and logs, the served name and how to start a server.

        Args:
            releases: Release store.
            state: Folder for desired state and logs.
            name: Served model name.
            command: How to start a server.
            start_seconds: How long one may take to come up.
            front: What stands before the servers; without one the supervisor relays users' requests itself.
            window_seconds: Where memory is for one server only: for how long users may be without a release while
                another one is staged; then the old one is brought back. ``None``: servers stand side by side.
        """
        self.front: Front = front or RelayFront()
        self._window_seconds = window_seconds
        self._window_ends = 0.0
        self._steered: Child | None = None
        self._flipping = asyncio.Lock()
        self._releases = releases
        self._state = state
        self._name = name
        self._command = command
        self._start_seconds = start_seconds
        self._children: dict[str, Child] = {}
        self._desired = self._read_desired()
        self._lock = asyncio.Lock()

    @property
    def active(self) -> Child | None:
        """The server that takes traffic, as the front says.

        Raises:
            DeployerUnavailable: The front can't be asked.
        """
        child = self.front.serving
        return child if child and child.running else None

    @property
    def _ready(self) -> Child | None:
        """The server that should take traffic, if it runs."""
        child = self._children.get(self._desired)
        return child if child and child.running else None

    def state(self) -> dict[str, object]:
        """Say what is up, in plain values."""
        active = self.active
        return {
            "active": active.release.id if active else "",
            "desired": self._desired,
            "up": [
                {"release": c.release.id, "endpoint": c.endpoint, "takes_traffic": c is active}
                for c in self._children.values()
                if c.running
            ],
        }

    async def stage(self, release_id: str) -> dict[str, object]:
        """Bring a release up without traffic.

        Raises:
            CheckpointError: Its files are not what the manifest says.
            StageError: It did not come up.
        """
        async with self._lock:
            await self._up(release_id)
        return self._served(release_id)

    async def promote(self, release_id: str) -> dict[str, object]:
        """Give a release all new traffic; the one before stays up.

        A release that is up takes over at once, however long another one's staging takes.
        """
        child = self._children.get(release_id)
        if not (child and child.running):
            async with self._lock:
                child = await self._up(release_id)
        async with self._flipping:
            before = self._desired
            self._write_desired(release_id)
            try:
                await self._switch(child)
            except DeployError:
                self._write_desired(before)
                with suppress(DeployError):
                    await self._switch(self._ready)
                raise
        log.info("promoted release %s", release_id)
        return self._served(release_id)

    async def retire(self, release_id: str) -> dict[str, object]:
        """Drain and stop a release.

        Raises:
            StageError: It takes traffic.
        """
        async with self._lock:
            if release_id == self._desired:
                raise StageError(f"release {release_id} takes traffic; promote another one first")
            if child := self._children.pop(release_id, None):
                await self.front.drain(child, seconds=60.0)
                await child.stop(drain_seconds=0.0)
        return self.state()

    async def metrics(self) -> str | None:
        """Return the active server's own metrics; ``None`` where there is none, or it does not show them."""
        if (child := self._ready) is None:
            return None
        try:
            async with httpx.AsyncClient(timeout=_METRICS_SECONDS) as http:
                page = await http.get(f"http://127.0.0.1:{child.port}/metrics")
        except httpx.HTTPError:
            return None
        return page.text if page.status_code == httpx.codes.OK else None

    async def keep_up(self) -> None:
        """Bring the desired release up and before users now and whenever its server dies, with growing pauses."""
        pause = 1.0
        while True:
            await self._bury()
            try:
                if self._missing():
                    async with self._lock:
                        if self._missing():
                            await self._up(self._desired)
                await self._steer()
                pause = 1.0
            except (DeployError, OSError) as error:
                log.error("restart_failed %s", error)
                pause = min(pause * 2, _BACKOFF_SECONDS_MAX)
            await asyncio.sleep(pause if self._missing() else 0.5)

    async def aclose(self) -> None:
        """Stop all servers."""
        async with self._lock:
            await asyncio.gather(*(c.stop(drain_seconds=30.0) for c in self._children.values()))
            self._children.clear()

    async def _up(self, release_id: str) -> Child:
        await self._bury()
        if child := self._children.get(release_id):
            return child
        release = find_release(self._releases, release_id)
        await asyncio.to_thread(verify_release, release)
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
        looked_at = time.monotonic() < self._window_ends and any(c.running for c in self._children.values())
        return bool(self._desired) and not self._ready and not looked_at

    async def _steer(self) -> None:
        async with self._flipping:
            if self._ready is not self._steered:
                await self._switch(self._ready)

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
        child = self._children[release_id]
        return {"release": release_id, "endpoint": child.endpoint, "takes_traffic": child is self.active}

    def _read_desired(self) -> str:
        try:
            return str(json.loads((self._state / "desired.json").read_text())["active"])
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError) as error:
            raise StageError(
                f"{self._state / 'desired.json'} is damaged; delete it, start again and promote a release"
            ) from error

    def _write_desired(self, release_id: str) -> None:
        scratch = self._state / "desired.json.partial"
        with scratch.open("w") as out:
            json.dump({"active": release_id}, out)
            out.flush()
            os.fsync(out.fileno())
        scratch.rename(self._state / "desired.json")
        self._desired = release_id
