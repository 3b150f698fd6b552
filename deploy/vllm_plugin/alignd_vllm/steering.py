"""Which release the public name means: staged, checked, tried, written down, then steered by one assignment."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from alignd_vllm.errors import Reason, Refused
from alignd_vllm.folder import copy_release, locate, verify
from alignd_vllm.names import Halted, Names
from alignd_vllm.record import Kept, Record, read_record, write_record
from alignd_vllm.server import Server

__all__ = ["Steering"]

log = logging.getLogger("vllm.alignd")

_DRAIN_LOOK_SECONDS = 0.1


class Steering:
    """One change at a time; reading the state never waits.

    A change is refused where its fence is lower than the present one. What is to be served is on disk before it is
    served, so a server that dies at any moment comes back with what was asked for, or with what was served before.
    """

    def __init__(
        self,
        *,
        server: Server,
        names: Names,
        releases: Path,
        state: Path,
        clock: Callable[[], datetime],
        drain_seconds: float = 60.0,
    ) -> None:
        """Take the server, its table of names, the release store and a folder for copies and the record.

        Raises:
            StartError: The record is damaged or belongs to another base.
        """
        self._server = server
        self._names = names
        self._releases = releases.resolve()
        self._state = state
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._record = read_record(state, base=server.base)
        self._foreign = frozenset(str(n) for n in names)
        self._lock = asyncio.Lock()

    @property
    def active(self) -> str:
        """The release that the public name means; ``""`` while nothing may answer for it."""
        return "" if isinstance(self._names.aim, Halted) else self._record.active

    def state(self) -> dict[str, object]:
        """Say what is served, in plain values."""
        record, server = self._record, self._server
        up = [k.release for k in record.kept if self._names.own(k.release) is not None]
        return {
            "vllm": server.version,
            "base": server.base,
            "public": list(server.public),
            "max_lora_rank": server.limits.lora_rank_max,
            "max_loras": server.limits.loras_max,
            "active": self.active,
            "desired": record.active,
            "previous": record.previous,
            "up": [server.base, *up],
            "in_flight": {r: server.in_flight(r) for r in up},
            "fence": record.fence,
            "holder": record.holder,
            "claimed_at": record.claimed_at,
        }

    async def start(self) -> None:
        """Load what the record names; to be done before the server takes requests.

        An active release that can't be loaded leaves the public names halted: neither the base, which may be what was
        repaired, nor the release before answers in its place unless somebody asks for it.
        """
        for kept in self._record.kept:
            try:
                await self._load(kept)
            except Refused as error:
                log.error("alignd_not_reloaded release %s: %s", kept.release, error)  # noqa: TRY400  (expected)
                self._names.pop(kept.release, None)
        record = self._record
        up = tuple(k for k in record.kept if self._names.own(k.release) is not None or k.release == record.active)
        previous = record.previous if record.previous in {record.base, *(k.release for k in up)} else ""
        self._record = replace(record, kept=up, previous=previous)
        self._aim(record.active)
        log.warning("alignd_started release %s, fence %d", self.active or "none: halted", record.fence)

    async def claim(self, holder: str) -> dict[str, object]:
        """Take over: every change with a lower fence is refused from now on."""
        async with self._lock:
            fence = self._record.fence + 1
            at = self._clock().isoformat(timespec="seconds")
            self._write(replace(self._record, fence=fence, holder=holder, claimed_at=at))
            log.warning("alignd_claimed holder %s, fence %d", holder, fence)
        return {"fence": fence}

    async def stage(self, release: str, *, path: str, sha256: str, fence: int) -> dict[str, object]:
        """Check, load and try a release without giving it the public name."""
        async with self._lock:
            self._require_fence(fence)
            await self._bring_up(release, path, sha256)
        return self.state()

    async def activate(
        self, release: str, *, path: str, sha256: str, fence: int, expect: str | None
    ) -> dict[str, object]:
        """Give a release the public name; the one before stays loaded."""
        async with self._lock:
            self._require_fence(fence)
            self._require_active(expect)
            if release != self._server.base:
                await self._bring_up(release, path, sha256)
            await self._flip(release)
        return self.state()

    async def rollback(self, *, fence: int, expect: str) -> dict[str, object]:
        """Give the public name back to the release before."""
        async with self._lock:
            self._require_fence(fence)
            self._require_active(expect)
            previous = self._record.previous
            if not previous:
                raise Refused(Reason.STAGE, f"there is no release before {expect}; activate one by name")
            await self._flip(previous)
        return self.state()

    async def retire(self, release: str, *, fence: int) -> dict[str, object]:
        """Unload a release once nothing is in flight on it; unknown ids, and the base, are left as they are.

        It loses its name first, so that nothing new comes; other changes go on while it drains.
        """
        async with self._lock:
            self._require_fence(fence)
            if release and release == self._record.active:
                raise Refused(Reason.STAGE, f"release {release} takes traffic; activate another one first")
            kept, adapter = self._record.find(release), self._names.own(release)
            if kept is None:
                return self.state()
            self._names.pop(release, None)
        try:
            drained = adapter is None or await self._drained(release)
            async with self._lock:
                if drained and self._names.own(release) is None:
                    await self._forget(kept)
        finally:
            if self._record.find(release) and adapter is not None:
                self._names.setdefault(release, adapter)
        if not drained:
            raise Refused(
                Reason.STAGE, f"release {release} still answers {self._server.in_flight(release)} requests; ask again"
            )
        if adapter is not None and self._record.find(release) is None:
            await self._server.unload(release, adapter)
        return self.state()

    async def _forget(self, kept: Kept) -> None:
        record = self._record
        left = tuple(k for k in record.kept if k.release != kept.release)
        previous = "" if record.previous == kept.release else record.previous
        self._write(replace(record, kept=left, previous=previous))
        await asyncio.to_thread(shutil.rmtree, self._copy(kept), ignore_errors=True)
        log.warning("alignd_retired release %s", kept.release)

    async def _bring_up(self, release: str, path: str, sha256: str) -> None:
        kept = self._record.find(release)
        source = locate(path, root=self._releases, release=release)
        if kept and self._names.own(release) is not None:
            if kept.sha256 != sha256:
                raise Refused(Reason.CHECKPOINT, f"release {release} is up with another digest ({kept.sha256[:12]})")
            await asyncio.to_thread(verify, source, release=release, sha256=sha256)
            return
        if release in self._foreign or release == self._server.base or release in self._server.public:
            raise Refused(Reason.STAGE, f"the name {release} is taken on this server; give the release another")
        await asyncio.to_thread(verify, source, release=release, sha256=sha256)
        kept = Kept(release=release, sha256=sha256, path=str(source))
        try:
            adapter = await self._load(kept)
            left = tuple(k for k in self._record.kept if k.release != release)
            self._write(replace(self._record, kept=(*left, kept)))
        except BaseException:
            self._names.pop(release, None)
            if self._record.find(release) is None:
                await asyncio.to_thread(shutil.rmtree, self._copy(kept), ignore_errors=True)
            raise
        log.warning("alignd_staged release %s, %s", release, type(adapter).__name__)

    async def _load(self, kept: Kept) -> object:
        """Load a release from the plugin's copy, made anew where it is not whole, and try one token."""
        copy = self._copy(kept)
        try:
            await asyncio.to_thread(verify, copy, release=kept.release, sha256=kept.sha256)
        except Refused:
            source = locate(kept.path, root=self._releases, release=kept.release)
            await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
            await asyncio.to_thread(
                copy_release, source, copy, release=kept.release, sha256=kept.sha256, base=self._server.base,
                rank_max=self._server.limits.lora_rank_max,
            )  # fmt: skip
        adapter = await self._server.load(kept.release, str(copy))
        self._names[kept.release] = adapter
        await self._server.answer_one(kept.release)
        return adapter

    async def _flip(self, release: str) -> None:
        """Try one token, write down, steer. Nothing is awaited between the last two."""
        record = self._record
        if release == record.active and self.active:
            return
        if kept := record.find(release):
            await asyncio.to_thread(verify, self._copy(kept), release=release, sha256=kept.sha256)
        await self._server.answer_one(release)
        previous = record.previous if release == record.active else record.active
        self._write(replace(record, active=release, previous=previous))
        self._aim(release)
        log.warning("alignd_activated release %s, before %s", release, previous)

    def _aim(self, release: str) -> None:
        if release == self._server.base:
            self._names.aim = None
            return
        found = self._names.own(release)
        self._names.aim = Halted(f"release {release} can't be served now; ask the operator") if found is None else found

    def _copy(self, kept: Kept) -> Path:
        """A name and a path for each content: vLLM keys what it caches by both."""
        return self._state / "adapters" / f"{kept.release}-{kept.sha256[12:]}"

    async def _drained(self, release: str) -> bool:
        """Whether nothing is in flight, at two looks: a request may be on its way to the engine at the first."""
        quiet, looks = 0, max(2, round(self._drain_seconds / _DRAIN_LOOK_SECONDS))
        for _ in range(looks):
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)
            quiet = 0 if self._server.in_flight(release) else quiet + 1
            if quiet == 2:
                return True
        return False

    def _require_fence(self, fence: int) -> None:
        record = self._record
        if fence < record.fence:
            raise Refused(
                Reason.FENCED,
                f"fence {fence} is over: holder {record.holder} took over at {record.claimed_at} with fence "
                f"{record.fence}; let one daemon alone change this server",
            )

    def _require_active(self, expect: str | None) -> None:
        if expect is not None and expect != self.active:
            raise Refused(
                Reason.EXPECT, f"release {self.active or 'none'} is active, not {expect or 'none'}; read the state"
            )

    def _write(self, record: Record) -> None:
        write_record(self._state, record)
        self._record = record
