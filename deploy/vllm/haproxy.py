"""HAProxy as the front: steered through its run-time API, so that users' requests never meet Python.

The supervisor's servers come and go on ports of their own; HAProxy's backend has a fixed set of named servers, and the
run-time API gives them addresses and takes them in and out of service. What HAProxy says is never taken for done: each
change is read back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.durable import held, write_whole
from deploy.errors import DeployerUnavailable, StageError
from deploy.vllm.child import Child
from deploy.vllm.haproxy_api import Slot, ask, choose, parse_sessions, parse_slots

__all__ = ["HaproxyFront", "steered_alone"]

log = logging.getLogger("alignd.front")

_LOOK_SECONDS = 0.25
"""How often HAProxy's state is compared with what it should be: one that was restarted is put right within a second."""
_STOP_SECONDS = 30.0


@contextmanager
def steered_alone(socket: Path, backend: str) -> Iterator[None]:
    """Hold a lock file beside HAProxy's socket, ``SOCKET.BACKEND.lock``, until the block or the process ends.

    Raises:
        StoreInUse: Another process steers this backend.
        StageError: The lock file can't be made.
    """
    place = socket.resolve()
    lock = place.with_name(f"{place.name}.{backend}.lock")
    try:
        lock.touch(mode=0o600)
    except OSError as error:
        raise StageError(
            f"{lock} can't be made ({error.strerror}), so nobody knows who steers HAProxy; start HAProxy, or mend "
            "--haproxy-socket and the folder's rights"
        ) from error
    with held(lock, alone=True, what=f"backend {backend} of the HAProxy at {socket}"):
        yield


class HaproxyFront:
    """Steers one backend of an HAProxy on this host."""

    def __init__(self, socket: Path, *, backend: str = "alignd", change_seconds: float = 5.0) -> None:
        """Take HAProxy's admin socket, the backend to steer, and how long a change may take to show."""
        self._socket = socket
        self._backend = backend
        self._change_seconds = change_seconds
        self._aim: Child | None = None
        self._serving: Child | None = None
        self._kept = ""
        self._fault = "it was not asked yet"
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()

    @property
    def serving(self) -> Child | None:
        """The server that new requests reach, as HAProxy said last.

        Raises:
            DeployerUnavailable: It said nothing, or something that can't be.
        """
        if self._fault:
            raise self._unavailable(self._fault)
        return self._serving

    @property
    def refused(self) -> None:
        """HAProxy counts them itself: ``haproxy_frontend_requests_denied_total``."""
        return

    async def switch(self, child: Child | None, *, why: str = "") -> None:
        """Send all new requests to this server, and read back that it is so; HAProxy's own 503 says no reason."""
        del why
        self._aim = child
        async with self._lock:
            await self._assert_aim()

    async def drain(self, child: Child, *, seconds: float) -> None:
        """Wait until HAProxy has no request at this server's address, then take the address out of service."""
        end = time.monotonic() + seconds
        try:
            while (slot := self._slot_of(child, await self._slots())) and child.running:
                if not (await self._sessions()).get(slot.name, 0) or time.monotonic() > end:
                    await self._tell(f"set server {self._backend}/{slot.name} state maint")
                    break
                await asyncio.sleep(0.1)
        except DeployerUnavailable as error:
            log.warning("drain_unseen release %s: %s", child.release.id, error)  # vLLM itself ends what it has

    async def serve(self, host: str, port: int) -> None:
        """Put HAProxy right whenever it is not as it should be, until ``aclose``; it listens where its file says."""
        del host, port
        while not self._closing.is_set():
            before = self._fault
            try:
                async with self._lock:
                    changed = await self._assert_aim()
                if changed:
                    log.warning("front_put_right %s: %s", self._socket, changed)
                elif before:
                    log.info("front_answers %s", self._socket)
            except DeployerUnavailable as error:
                if self._fault != before:
                    log.error("front_unavailable %s", error)  # noqa: TRY400 (expected: HAProxy may be restarted)
            try:
                await asyncio.wait_for(self._closing.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue

    async def aclose(self) -> None:
        """Send no more requests to any server and let those in flight end; HAProxy goes on answering 503."""
        self._closing.set()
        end = time.monotonic() + _STOP_SECONDS
        try:
            await self.switch(None)
            while any((await self._sessions()).values()):
                if time.monotonic() > end:
                    break
                await asyncio.sleep(0.1)
        except DeployerUnavailable as error:
            log.warning("drain_unseen %s", error)

    async def _assert_aim(self) -> str:
        """Make HAProxy do what it should; return what had to be changed, ``""`` where nothing had to."""
        aim = self._aim if self._aim and self._aim.running else None
        try:
            return await self._settle(aim)
        except DeployerUnavailable as error:
            self._fault = str(error)
            raise

    async def _settle(self, aim: Child | None) -> str:
        end, said = time.monotonic() + self._change_seconds, ""
        done: list[str] = []
        while True:
            slots = await self._slots()
            busy = await self._sessions() if aim and not self._slot_of(aim, slots) else {}
            commands = choose(slots, backend=self._backend, port=aim.port if aim else None, sessions=busy)
            taking = [s for s in slots if s.takes_traffic]
            if not commands and [s.port for s in taking] == ([aim.port] if aim else []):
                self._serving, self._fault = aim, ""
                await self._keep(slots)
                return "; ".join(done)
            if time.monotonic() > end:
                wanted = f"to port {aim.port}" if aim else "nowhere"
                found = ", ".join(f"{s.name} ({s.address}:{s.port})" for s in taking) or "no server"
                raise self._unavailable(
                    f"it was told to send requests {wanted}, and {found} gets them still (it answers {said[:80]!r}); "
                    "look at its log and at the socket's level, which must be admin"
                )
            if commands:
                said = (await self._tell("; ".join(commands))) or said
                done += commands
            else:
                await asyncio.sleep(0.05)

    async def _keep(self, slots: tuple[Slot, ...]) -> None:
        """Write down what HAProxy does, where its file has it read at a start: a reload then loses no request."""
        now = repr(slots)
        if now == self._kept:
            return
        text = await self._tell("show servers state")
        self._kept = now
        file = self._socket.with_name("servers")
        try:
            write_whole(file, f"{text}\n")
        except OSError as error:
            log.warning("servers_not_kept %s: %s; HAProxy answers 503 for a moment after a restart", file, error)

    async def _slots(self) -> tuple[Slot, ...]:
        return parse_slots(await self._tell(f"show servers state {self._backend}"), where=self._where)

    async def _sessions(self) -> dict[str, int]:
        return parse_sessions(await self._tell(f"show stat {self._backend} 4 -1"), where=self._where)

    async def _tell(self, command: str) -> str:
        return await ask(self._socket, command)

    @staticmethod
    def _slot_of(child: Child, slots: tuple[Slot, ...]) -> Slot | None:
        return next((s for s in slots if s.port == child.port), None)

    @property
    def _where(self) -> str:
        return f"HAProxy at {self._socket}, backend {self._backend}"

    def _unavailable(self, fault: str) -> DeployerUnavailable:
        return DeployerUnavailable(fault if fault.startswith("HAProxy") else f"{self._where}: {fault}")
