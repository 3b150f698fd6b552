"""The supervisor: keeps vLLM servers up, one of them behind the front, and does what the deployer asks.

It lives apart from the daemon, so a daemon that dies changes nothing of what is served. What is to be served is
written down before it is done and asserted again at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from deploy.checkpoint import Release, verify_release
from deploy.durable import clear_scratch
from deploy.errors import CheckpointError, Fenced, StageError
from deploy.record import PromotionRecord
from deploy.vllm.child import Child, ChildCommand, read_metrics, require_answer
from deploy.vllm.counts import Counts
from deploy.vllm.front import Front
from deploy.vllm.hanging import keep_answering
from deploy.vllm.keeping_up import keep_up
from deploy.vllm.relay import RelayFront
from deploy.vllm.servers import Servers
from deploy.vllm.traffic import Traffic

__all__ = ["Supervisor"]

log = logging.getLogger("alignd.supervisor")


class Supervisor:
    """Owns the server processes. Changes of one release wait for each other; reading the state never waits."""

    def __init__(
        self, *, releases: Path, state: Path, name: str, command: ChildCommand, start_seconds: float = 600.0,
        verify: Callable[[Release], None] = verify_release, front: Front | None = None,
        window_seconds: float | None = None, hang_seconds: float = 120.0,
    ) -> None:  # fmt: skip
        """Take the release store, a folder for state and logs, the served name and how to start a server.

        Args:
            verify: Looks at a release before each start; raises a ``CheckpointError`` where it is not fit.
            front: What stands before the servers; without one the supervisor relays users' requests itself.
            window_seconds: Where memory is for one server only: for how long users may be without a release while
                another one is staged; then the old one is brought back. ``None``: servers stand side by side.
            hang_seconds: For how long the server that has the traffic may give nobody a token before it is renewed;
                0: for ever.
        """
        for folder in (state, releases):
            clear_scratch(folder)
        self._renewed = Counts(("asked", "hung"))
        self._hang_seconds = hang_seconds
        self.front: Front = front or RelayFront()
        self._traffic = Traffic(file=state / "desired.json", front=self.front)
        self._servers = Servers(
            traffic=self._traffic, releases=releases, logs=state / "logs", name=name, command=command,
            start_seconds=start_seconds, verify=verify, window_seconds=window_seconds,
        )  # fmt: skip

    @property
    def active(self) -> Child | None:
        """The server that takes traffic, as the front says.

        Raises:
            DeployerUnavailable: The front can't be asked.
        """
        child = self.front.serving
        return child if child and child.running else None

    def state(self) -> dict[str, object]:
        """Say what is up, in plain values."""
        active = self.active
        return {
            **self._traffic.record.to_json(),
            "active": active.release.id if active else "",
            "desired": self._traffic.record.desired,
            "up": [
                {"release": c.release.id, "endpoint": c.endpoint, "takes_traffic": c is active}
                for c in self._servers.running
            ],
        }

    def claim(self, holder: str) -> dict[str, object]:
        """Let a deployer take over: changes of those before it are refused from now on."""
        self._traffic.write(self._traffic.record.claimed(holder, at=datetime.now(UTC)))
        log.info("claimed by %s, fence %d", holder, self._traffic.record.fence)
        return {"fence": self._traffic.record.fence}

    async def stage(self, release_id: str, fence: int) -> dict[str, object]:
        """Bring a release up without traffic.

        Raises:
            CheckpointError: Its files are not what the manifest says.
            StageError: It did not come up; ``DeployerUnavailable`` where its server was killed.
            Fenced: A later deployer has taken over.
        """
        self._traffic.admit(fence)
        async with self._servers.lock(release_id):
            self._traffic.admit(fence)
            await self._servers.up(release_id, partial(self._traffic.admit, fence))
        return self._served(release_id)

    async def promote(self, release_id: str, fence: int) -> dict[str, object]:
        """Give a release all new traffic; the one before stays up.

        A release that is up takes over at once, however long another one's staging takes.
        """
        self._traffic.admit(fence)
        await self._ready(release_id, fence)
        await self._flip(release_id, partial(self._promoted, release_id, fence))
        log.info("promoted release %s", release_id)
        return self._served(release_id)

    async def roll_back(self, fence: int) -> dict[str, object]:
        """Give the traffic back to the nearest earlier release that is up, or is in the store and comes up.

        Raises:
            StageError: There is none.
            Fenced: A later deployer has taken over.
        """
        self._traffic.admit(fence)
        faults = []
        for release_id in self._traffic.record.earlier:
            try:
                await self._ready(release_id, fence)
            except Fenced:
                raise
            except (CheckpointError, StageError) as error:
                faults.append(str(error))
                continue
            await self._flip(release_id, partial(self._rolled_back, release_id, fence))
            log.info("rolled_back to release %s", release_id)
            return self._served(release_id)
        raise StageError("no earlier release to go back to; promote one" + "".join(f"\n{f}" for f in faults))

    async def renew(self, release_id: str, fence: int) -> dict[str, object]:
        """Serve the release that takes traffic from a new process, and stop the one that served it.

        Who asks while it is under way waits for its end and gets the same answer.

        Raises:
            CheckpointError: Its files are not what the manifest says; the old process goes on.
            StageError: It takes no traffic, or its new process did not come up; the old one goes on.
            Fenced: A later deployer has taken over.
        """
        self._traffic.admit(fence)
        before = self._servers.find(release_id)
        async with self._servers.lock(release_id):
            if (now := self._servers.find(release_id)) is None or now is before:
                await self._servers.renew(release_id, partial(self._may_renew, release_id, fence))
                self._renewed.add("asked")
        return self._served(release_id)

    async def quarantine(self, why: str, fence: int) -> dict[str, object]:
        """Answer nobody until the next promotion; what is up stays up, and is asked at its own endpoint.

        Raises:
            DeployerUnavailable: The front does not do it yet; it is tried again.
            Fenced: A later deployer has taken over.
        """
        await self._traffic.rewrite(lambda: self._traffic.record.admits(fence).quarantined(why), self._servers.wanted)
        log.warning("quarantined: %s", why)
        return self.state()

    async def lift(self, fence: int) -> dict[str, object]:
        """Give users the desired release again; where they are not kept from it, nothing changes.

        Raises:
            DeployerUnavailable: The front does not do it yet; it is tried again.
            Fenced: A later deployer has taken over.
        """
        withheld = self._traffic.record.withheld
        await self._traffic.rewrite(lambda: self._traffic.record.admits(fence).lifted(), self._servers.wanted)
        if withheld:
            log.warning("lifted the quarantine: %s", withheld)
        return self.state()

    async def retire(self, release_id: str, fence: int) -> dict[str, object]:
        """Drain and stop a release.

        Raises:
            StageError: It takes traffic.
            Fenced: A later deployer has taken over.
        """
        self._traffic.admit(fence)
        async with self._servers.lock(release_id):
            self._traffic.admit(fence)
            if release_id == self._traffic.record.desired:
                raise StageError(f"release {release_id} takes traffic; promote another one first")
            await self._servers.stop(release_id)
        return self.state()

    async def metrics(self) -> str:
        """Return what the front refused, and the active server's own metrics where there is one that shows them."""
        refused = self.front.refused
        text = "Users' requests that the front answered in a server's place"
        own = refused.page("alignd_front_refused_requests_total", text) if refused else ""
        own += self._renewed.page("alignd_supervisor_renewals_total", "Servers that were replaced by a new process")
        wanted = self._servers.wanted()
        return own + (await read_metrics(wanted) if wanted else "")

    async def keep_up(self) -> None:
        """Bring the desired release up and before users now and whenever its server dies or hangs."""
        await asyncio.gather(
            keep_up(self._servers, self._traffic),
            keep_answering(self._servers, hang_seconds=self._hang_seconds, renewed=self._renewed),
        )

    async def aclose(self) -> None:
        """Stop all servers."""
        await self._servers.aclose()

    async def _ready(self, release_id: str, fence: int) -> None:
        """Bring a release up where it is not; one that is waits for nothing but a token, which one that hangs owes."""
        child = self._servers.find(release_id)
        if child is None:
            async with self._servers.lock(release_id):
                await self._servers.up(release_id, partial(self._traffic.admit, fence))
        elif child is not self._traffic.steered:
            await require_answer(child, self._servers.name)

    def _promoted(self, release_id: str, fence: int) -> PromotionRecord:
        return self._traffic.record.admits(fence).promoted(release_id, at=datetime.now(UTC))

    def _rolled_back(self, release_id: str, fence: int) -> PromotionRecord:
        return self._traffic.record.admits(fence).rolled_back(release_id, at=datetime.now(UTC))

    def _may_renew(self, release_id: str, fence: int) -> None:
        self._traffic.admit(fence)
        if release_id != self._traffic.record.desired:
            raise StageError(f"release {release_id} takes no traffic; retire it, then stage it again")

    async def _flip(self, release_id: str, change: Callable[[], PromotionRecord]) -> None:
        await self._traffic.flip(partial(self._servers.require, release_id), change, self._servers.wanted)

    def _served(self, release_id: str) -> dict[str, object]:
        child = self._servers.require(release_id)
        return {"release": release_id, "endpoint": child.endpoint, "takes_traffic": child is self.active}
