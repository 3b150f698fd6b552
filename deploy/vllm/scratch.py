"""The scratch server: one server beside the one that users ask, for a release on trial and then for the one before.

A fresh server of a release gives the canary that the release's weights must show anywhere else.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.canary import Canary, difference, stored_canary, write_canary
from deploy.checkpoint import Release
from deploy.durable import write_whole
from deploy.errors import DeployError, DeployerUnavailable, StageError
from deploy.vllm.admin import admin_token
from deploy.vllm.child import Child, ChildCommand, start_child
from deploy.vllm.client import Described, Replica, replica
from deploy.vllm.reload_server import TOKEN

__all__ = ["Scratch", "available_bytes", "require_memory"]

log = logging.getLogger("alignd.reload")

_FILE = "scratch.json"
_CACHE_BYTES = 1 << 30
"""Of keys and values, which ``start_child`` allows each server."""
_RUNTIME_BYTES = 1 << 30
"""Of a server without weights, as measured for vLLM 0.32's processors' build: about 0.8 GiB."""
_LOAD_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A scratch server that runs, whoever started it."""

    release: str
    port: int
    pid: int


class Scratch:
    """Starts, finds and stops the one scratch server; a record in the state folder tells other processes of it."""

    def __init__(self, *, state: Path, store: Path, name: str, start_seconds: float) -> None:
        """Take a folder for record, token and logs, the release store and the served model name."""
        self._state = state
        self._store = store
        self._name = name
        self._start_seconds = start_seconds
        self._child: Child | None = None

    @property
    def token_file(self) -> Path:
        """Holds the token of its dev-mode routes; its fences are its own too."""
        return self._state / TOKEN

    async def release(self) -> tuple[str, str] | None:
        """Return the release that the running scratch server holds and its endpoint; ``None`` where none runs."""
        found = await self._find()
        return (found.release, f"http://127.0.0.1:{found.port}/v1") if found else None

    async def start(self, release: Release, *, server: Described, command: ChildCommand) -> None:
        """Have the scratch server hold a release, and keep the release's canary where none was kept yet.

        Raises:
            StageError: It did not come up, memory does not allow it, or its canary is not the one that was kept.
        """
        kept = stored_canary(self._store, release.id, dtype=server.dtype)
        if kept and await self._find():
            try:
                await self.change(release, server=server)
            except DeployError as error:
                log.warning("scratch_not_changed %s", error)
            else:
                return
        await self.stop()
        require_memory(release, free=available_bytes())
        self._state.mkdir(parents=True, exist_ok=True)
        admin_token(self._state)
        self._child = await start_child(
            release, command=command, name=self._name, logs=self._state / "logs",
            timeout_seconds=self._start_seconds,
        )  # fmt: skip
        self._note(_Found(release=release.id, port=self._child.port, pid=self._child.process.pid))
        try:
            async with self._ask(self._child.port) as own:
                seen = await own.canary(release.id, dtype=server.dtype, server=server.server)
            self._keep(seen, kept)
        except BaseException:
            await self.stop()
            raise

    async def change(self, release: Release, *, server: Described) -> None:
        """Load other weights into the running scratch server; its canary must be the one that was kept.

        Raises:
            StageError: It can't, or what it says then is not what a fresh server said.
        """
        found = await self._find()
        kept = stored_canary(self._store, release.id, dtype=server.dtype)
        if found is None or kept is None:
            raise StageError(f"release {release.id}: no scratch server, or no canary to prove it by")
        if found.release == release.id:
            return
        async with self._ask(found.port) as own:
            own.act_with((await own.door()).fence)
            await _load(own, release)
            seen = await own.canary(release.id, dtype=server.dtype, server=server.server)
        if why := difference(seen, kept):
            await self.stop()
            raise StageError(f"release {release.id}: the scratch server does not serve it: {why}")
        self._note(_Found(release=release.id, port=found.port, pid=found.pid))

    async def aclose(self) -> None:
        """Stop it, where this process started it."""
        if self._child:
            await self.stop()

    async def stop(self) -> None:
        """Stop it, whoever started it."""
        if self._child:
            await self._child.stop(drain_seconds=0.0)
            self._child = None
        elif found := await self._find():
            with suppress(ProcessLookupError):  # it may end by itself meanwhile
                os.killpg(found.pid, signal.SIGTERM)
        (self._state / _FILE).unlink(missing_ok=True)

    def _keep(self, seen: Canary, kept: Canary | None) -> None:
        if kept is None:
            write_canary(self._store, seen)
        elif why := difference(seen, kept):
            raise StageError(
                f"release {seen.release}: a fresh server says other things than one did before ({why}); if vLLM or the "
                "machine was changed since, delete its file in .canaries of the release store"
            )

    async def _find(self) -> _Found | None:
        file = self._state / _FILE
        try:
            said = _Found(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        try:
            async with self._ask(said.port) as own:
                named = (await own.door()).fingerprint
        except (DeployerUnavailable, StageError):
            return None
        return said if named == said.release else None

    def _ask(self, port: int) -> AbstractAsyncContextManager[Replica]:
        return replica(f"http://127.0.0.1:{port}", model=self._name, token=admin_token(self._state))

    def _note(self, found: _Found) -> None:
        write_whole(self._state / _FILE, json.dumps(asdict(found)))


async def _load(own: Replica, release: Release) -> None:
    await own.hold(_LOAD_SECONDS)
    try:
        await own.drain(_LOAD_SECONDS)
        await own.reload(str(release.path.resolve()), seconds=_LOAD_SECONDS)
        await own.clear_cache(seconds=_LOAD_SECONDS)
        await own.name(release.id)
        await own.resume()
    finally:
        await own.release()


def require_memory(release: Release, *, free: int | None) -> None:
    """Refuse where main memory has no room for a second server.

    Raises:
        StageError: It hasn't.
    """
    weights = sum(f.size for f in release.manifest.files)
    needed = 2 * weights + _CACHE_BYTES + _RUNTIME_BYTES  # bfloat16 files, served in float32
    if free is not None and free < needed:
        raise StageError(
            f"release {release.id}: no room for a scratch server beside the one that serves: about "
            f"{needed >> 20} MiB are needed, {free >> 20} MiB are free; free memory, or serve it with deployer "
            "vllm-process, which restarts with a maintenance answer where memory allows one server"
        )


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return how much main memory is free for a new process; ``None`` where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return None
