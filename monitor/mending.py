"""Servers that serve something else than they are meant to: noticed, told, and mended within the rails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from deploy.checkpoint import Release, find_release
from deploy.errors import DeployError, DeployerUnavailable, StoreInUse
from deploy.offers import reasserting, renewing
from monitor.changing import changing
from monitor.effect import Step
from monitor.pausing import pause_in_force
from monitor.policy import MENDS_MAX, may_mend
from monitor.served_check import Served, check_served
from monitor.site import Site
from monitor.store import Store

__all__ = ["Mending"]

log = logging.getLogger("alignd")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tries:
    """Attempts in a row that did not help, and when the last one was."""

    n: int = 0
    last: datetime | None = None


class Mending:
    """Keeps what servers were last found to hold; nothing of it matters after a restart."""

    def __init__(self, *, sites: Mapping[str, Site], store: Store, clock: Callable[[], datetime]) -> None:
        """Take the watched targets and the store."""
        self._sites = sites
        self._store = store
        self._clock = clock
        self._tries: dict[str, _Tries] = {}
        self._returns: dict[str, _Tries] = {}
        self.served: dict[str, tuple[Served, ...]] = {}
        """What each target's servers hold, as last seen."""
        self.mends: dict[str, int] = dict.fromkeys(sites, 0)
        """Attempts since the start, by target."""

    def given_up(self, name: str) -> bool:
        """Whether a target's servers still hold something else after all attempts: only a person can go on."""
        return any(tries.get(name, _Tries()).n >= MENDS_MAX for tries in (self._tries, self._returns))

    async def reassert(self, name: str) -> None:
        """Give what is wanted back to servers that were restarted without it, beside an open incident too.

        An incident's own changes are what is wanted, so there is nothing to decide here. A server that is away is
        waited for; one that refuses is asked again, ever more seldom, and then left to a person.
        """
        site = self._sites[name]
        if (returns := reasserting(site.deployer)) is None or pause_in_force(self._store, name, self._clock()):
            return
        tries = self._returns.get(name, _Tries())
        try:
            if not await returns.lost():
                self._returns.pop(name, None)
                return
            if not may_mend(site.mode, tries=tries.n, last=tries.last, now=self._clock()):
                return
            async with changing(Step(site=site, store=self._store, say=lambda _stage, _share: None)):
                lost = await returns.reassert()
        except (DeployerUnavailable, StoreInUse) as error:
            log.info("reassertion_waits", extra={"target": name, "why": str(error)})
        except DeployError as error:
            self._returns[name] = _Tries(n=tries.n + 1, last=self._clock())
            log.warning("not_reasserted", extra={"target": name, "try": tries.n + 1, "why": str(error)})
        else:
            self._returns.pop(name, None)
            self.mends[name] += bool(lost)
            log.warning("reasserted", extra={"target": name, "replicas": list(lost)})

    async def prove(self, name: str) -> None:
        """Ask a target's servers for their canaries; where one that takes traffic is wrong, mend it if that is due."""
        site = self._sites[name]
        if site.served is None or pause_in_force(self._store, name, self._clock()):
            return
        if not (wrong := await self._look(site)):
            self._tries.pop(name, None)
            return
        tries = self._tries.get(name, _Tries())
        if self._store.incidents(target=name, open_only=True) or not may_mend(
            site.mode, tries=tries.n, last=tries.last, now=self._clock()
        ):
            return
        self._tries[name] = _Tries(n=tries.n + 1, last=self._clock())
        self.mends[name] += 1
        log.warning("mending", extra={"target": name, "release": wrong.release, "try": tries.n + 1})
        try:
            if not await _still_wanted(wrong.release, site):
                return
            await _put_right(await asyncio.to_thread(find_release, site.releases, wrong.release), site)
        except DeployError as error:
            log.warning("not_mended", extra={"target": name, "release": wrong.release, "why": str(error)})
            return
        if not await self._look(site):
            self._tries.pop(name, None)
            log.info("mended", extra={"target": name, "release": wrong.release})

    async def _look(self, site: Site) -> Served | None:
        """Look at all servers; return the one that takes traffic and is wrong."""
        if site.served is None:
            return None
        try:
            found = await check_served(site.served, site.deployer, clock=self._clock)
        except DeployError as error:
            log.warning("not_proved", extra={"target": site.name, "why": str(error)})
            return None
        self.served[site.name] = found
        for server in found:
            if server.mismatch:
                log.warning(
                    "deployment_mismatch",
                    extra={"target": site.name, "replica": server.replica, "release": server.release,
                           "why": server.mismatch},
                )  # fmt: skip
        return next((s for s in found if s.takes_traffic and s.mismatch), None)


async def _put_right(release: Release, site: Site) -> None:
    """Have a release served afresh where it is in service already; else put it into service."""
    if (renews := renewing(site.deployer)) and (await site.deployer.state()).active == release.id:
        await renews.renew(release)
    else:
        await site.deployer.promote(release)


async def _still_wanted(release: str, site: Site) -> bool:
    """Whether a release should be served now: somebody may have put another one into service during the look."""
    if (returns := reasserting(site.deployer)) and await returns.lost():
        wanted = await returns.wanted()
        return wanted is not None and wanted.name == release
    return (await site.deployer.state()).active == release
