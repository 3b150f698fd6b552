"""Deployer ``vllm-reload``: new weights in place, in one running vLLM server that is never stopped.

A release is brought up beside it first, in a scratch server: the gates ask it there, and its log-probabilities are
what the server must show after the change. The change itself is made by a guard process (``deploy.vllm.reload_guard``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.canary import difference, stored_canary, write_canary
from deploy.checkpoint import Release, find_release, verify_release
from deploy.deployer import UNKNOWN_RELEASE, DeploymentState, ServedRelease
from deploy.errors import CheckpointError, DeployError, DeployerUnavailable, Fenced, StageError
from deploy.vllm.child import ChildCommand
from deploy.vllm.client import Described, Replica, replica
from deploy.vllm.reload_change import Changes
from deploy.vllm.reload_journal import Journal, Outcome, Swap, Weights
from deploy.vllm.reload_options import Options
from deploy.vllm.reload_preflight import require_reloadable
from deploy.vllm.reload_server import TOKEN, reload_command
from deploy.vllm.scratch import Scratch

__all__ = ["Options", "ReloadDeployer", "make"]

log = logging.getLogger("alignd.reload")


class ReloadDeployer:
    """Changes one server's weights in place."""

    def __init__(self, options: Options, *, command: Callable[[str], ChildCommand] | None = None) -> None:
        """Take the options; ``command`` makes the scratch server's command maker of a dtype, and is for tests."""
        self._options = options
        self._command = command or self._vllm
        self._fence: int | None = None
        self._lock = asyncio.Lock()
        self._changes = Changes(options.state, seconds=options.hold_seconds + options.restart_seconds)
        self._scratch = Scratch(
            state=options.state / "scratch", store=options.releases, name=options.model,
            start_seconds=options.start_seconds,
        )  # fmt: skip

    async def state(self) -> DeploymentState:
        """Read what is served now, by what the server's answers name; a change that nobody ends is ended first.

        While weights change it is still the release before; where they could not be proved it is none.
        """
        await self._changes.recover()
        journal = Journal.read(self._options.state)
        async with self._server() as server:
            door, endpoint = await server.door(), server.endpoint
        if journal and not journal.outcome:
            active = journal.swap.old.release
        else:
            active = UNKNOWN_RELEASE if door.held else door.fingerprint
        up = [ServedRelease(release=active, endpoint=endpoint, takes_traffic=True)] if active else []
        beside = await self._scratch.release()
        if beside and beside[0] != active:
            up.append(ServedRelease(release=beside[0], endpoint=beside[1], takes_traffic=False))
        return DeploymentState(active=active, up=tuple(up))

    async def stage(self, release: Release) -> ServedRelease:
        """Bring a release up in the scratch server, and take its canary."""
        async with self._lock, self._server() as server:
            if served := (await self.state()).find(release.id):
                return served
            await self._require_whole(release)
            await self._changes.settle()
            await self._take_over(server)
            await self._bring_up(release, server, await server.describe())
        return await self._served(release.id)

    async def promote(self, release: Release) -> ServedRelease:
        """Load a release into the server, prove it, and let users in; a wrong server of the same name is mended.

        Raises:
            StageError: It could not be proved; the message says what is served now.
        """
        async with self._lock, self._server() as server:
            await self._require_whole(release)
            await self._changes.settle()
            if await self._proved(release, server):
                return await self._served(release.id)
            await self._take_over(server)
            described = await server.describe()
            old = await self._now(server, described)
            if release.id != old.id:
                require_reloadable(old, release, described)
                if stored_canary(self._options.releases, release.id, dtype=described.dtype) is None:
                    await self._bring_up(release, server, described)
            await self._change(old, release, described)
            await self._keep_warm(old, release, described)
        return await self._served(release.id)

    async def retire(self, release: str) -> None:
        """Stop the scratch server, where it holds this release."""
        async with self._lock, self._server() as server:
            state = await self.state()
            if release and release == state.active:
                raise StageError(f"release {release} takes traffic; promote another one first")
            if state.find(release):
                await self._take_over(server)
                await self._scratch.stop()
                log.info("retired %s", release)

    async def aclose(self) -> None:
        """Stop the scratch server, where this process started it."""
        await self._scratch.aclose()

    async def _bring_up(self, release: Release, server: Replica, described: Described) -> None:
        require_reloadable(await self._now(server, described), release, described)
        await self._scratch.start(release, server=described, command=self._command(described.dtype))
        log.info("staged %s", release.id)

    async def _now(self, server: Replica, described: Described) -> Release:
        """Return the release that is served; its canary is taken where there is none, for it was started with it.

        Raises:
            StageError: The server does not say what it serves, or that release is not in the store.
        """
        named, store = (await server.door()).fingerprint, self._options.releases
        try:
            release = await asyncio.to_thread(find_release, store, named)
        except CheckpointError as error:
            raise StageError(
                f"{self._options.url} serves {named!r}, which is not in {store}, so there is no way back; start it "
                "with `python -m deploy.vllm.reload_server`"
            ) from error
        if stored_canary(store, named, dtype=described.dtype) is None:
            if not await asyncio.to_thread(_same_folder, described.model, release.path):
                raise StageError(
                    f"{self._options.url} names {named}, and its weights are of {described.model}; restart it with "
                    "`python -m deploy.vllm.reload_server`"
                )
            write_canary(store, await server.canary(named, dtype=described.dtype, server=described.server))
        return release

    async def _proved(self, release: Release, server: Replica) -> bool:
        """Whether this release is what users get now, by name and by canary, with the door open.

        Raises:
            StageError: No canary of it is kept, and the server was started with other weights than it names.
        """
        door = await server.door()
        if door.fingerprint != release.id or door.held:
            return False
        server.act_with(door.fence)
        described = await server.describe()
        kept = stored_canary(self._options.releases, release.id, dtype=described.dtype)
        if kept is None:
            # Each change keeps the canaries of both releases, so nothing was changed since the server started from
            # files that it compared with their manifest: its canary is the release's, and the next look has one.
            await self._now(server, described)
            return True
        seen = await server.canary(release.id, dtype=described.dtype, server=described.server)
        if why := difference(seen, kept):
            log.warning("lying_server %s", why)
        return not why

    async def _change(self, old: Release, new: Release, described: Described) -> None:
        """Plan the change, have a guard make it, and read how it ended.

        Raises:
            StageError: It did not end with the new release in service.
        """
        options = self._options
        swap = Swap(
            old=_weights(old), new=_weights(new), url=options.url, model=options.model, fence=self._fence or 0,
            token_file=str(options.state / TOKEN), api_key_file=str(options.api_key_file or ""),
            store=str(options.releases), dtype=described.dtype, server=described.server,
            drain_seconds=options.drain_seconds, step_seconds=options.step_seconds,
            hold_seconds=options.hold_seconds, restart=options.restart, restart_seconds=options.restart_seconds,
        )  # fmt: skip
        journal = await self._changes.make(swap)
        if journal.outcome is not Outcome.DONE:
            log.error("not_promoted %s %s %s", new.id, journal.outcome.value, journal.why)
            raise StageError(f"release {new.id} was not put into service ({journal.outcome.value}): {journal.why}")
        log.info("promoted %s, users waited %.2f s", new.id, journal.held_seconds)

    async def _keep_warm(self, old: Release, new: Release, described: Described) -> None:
        """Have the scratch server hold the release before; where that fails, the way back is a change in place."""
        held = await self._scratch.release()
        if held is None or held[0] != new.id or old.id == new.id:
            return
        try:
            await self._scratch.change(old, server=described)
        except DeployError as error:
            log.warning("not_kept_warm %s %s", old.id, error)
            with contextlib.suppress(DeployError, OSError):
                await self._scratch.stop()

    async def _take_over(self, server: Replica) -> None:
        """Act with a fence of one's own, counted up at the first change.

        Raises:
            Fenced: Somebody took over since.
        """
        if self._options.fence == "borrow":
            self._fence = (await server.door()).fence
        elif self._fence is None:
            self._fence = await server.claim(f"{socket.gethostname()}:{os.getpid()}")
        if (door := await server.door()).fence > self._fence:
            raise Fenced(
                f"{self._options.url}: holder {door.holder} took over (fence {door.fence}, not {self._fence}); stop "
                "one of the two, or act with fence: borrow"
            )
        server.act_with(self._fence)

    async def _served(self, release: str) -> ServedRelease:
        if (served := (await self.state()).find(release)) is None:
            raise StageError(f"release {release} went down right after it came up; look at the server's log")
        return served

    async def _require_whole(self, release: Release) -> None:
        root = self._options.releases.resolve()
        if root not in release.path.resolve().parents:
            raise CheckpointError(f"release {release.id}: {release.path} is not in the release store {root}; import it")
        await asyncio.to_thread(verify_release, release)

    def _vllm(self, dtype: str) -> ChildCommand:
        options = self._options
        return reload_command(
            name=options.model, dtype=dtype, token_file=self._scratch.token_file, more=options.scratch_arguments
        )

    def _token(self) -> str:
        return _read(self._options.state / TOKEN, "start the server with `python -m deploy.vllm.reload_server`")

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Replica]:
        options = self._options
        key = _read(options.api_key_file, "mend api_key_file") if options.api_key_file else ""
        async with replica(options.url, model=options.model, token=self._token(), api_key=key) as server:
            yield server


def _read(file: Path, way_out: str) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise DeployerUnavailable(f"{file} can't be read ({error.strerror}); {way_out}") from error


def _same_folder(first: str, second: Path) -> bool:
    return Path(first).resolve() == second.resolve()


def _weights(release: Release) -> Weights:
    return Weights(release=release.id, path=str(release.path.resolve()))


def make(options: Options) -> ReloadDeployer:
    """Make the deployer of its options."""
    return ReloadDeployer(options)
