"""Quarantines that a person ends: the word is taken where one stands, done beside any step, and told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from deploy.deployer import DeploymentState
from deploy.errors import DeployerUnavailable
from deploy.offers import quarantining
from monitor.errors import ConfigError, unknown_target
from monitor.incident import Incident
from monitor.prober import Prober
from monitor.quarantine import Lift, tell, told
from monitor.site import Site
from monitor.store import Store

__all__ = ["Lifting"]

log = logging.getLogger("alignd")

_PLACE_SECONDS = 5.0
"""For so long a person waits to hear whether users are in quarantine."""


class Lifting:
    """Kept in memory is only what was done and seen already; doing it again does no harm."""

    def __init__(
        self, *, sites: Mapping[str, Site], store: Store, clock: Callable[[], datetime], prober: Prober
    ) -> None:
        """Take the watched targets, the store, and whose views say what is served."""
        self._sites = sites
        self._store = store
        self._clock = clock
        self._prober = prober
        self._done: dict[str, datetime] = {}
        self._seen: dict[str, int] = {}

    async def place(self, name: str, *, by: str, why: str) -> tuple[Lift, str]:
        """Put a person's word on the book that users are to be served again; the daemon does it.

        Returns:
            The lift, an earlier one where that is not done yet, and the release that users get.

        Raises:
            ConfigError: There is no such target, or nothing is quarantined.
            DeployerUnavailable: The serving side does not answer, or not in time: nobody knows, and nothing is noted.
        """
        if name not in self._sites:
            raise unknown_target(name, self._sites)
        site = self._sites[name]
        if quarantining(site.deployer) is None:
            raise ConfigError(f"target {name}: its deployer can't quarantine; there is nothing to lift")
        found = (await site.state_within(_PLACE_SECONDS)).quarantine
        if found is None:
            raise ConfigError(f"target {name} is not quarantined; there is nothing to lift")
        incident = next((i.id for i in self._store.incidents(target=name, limit=1)), "")
        asked = Lift(target=name, incident=incident, by=by, at=self._clock(), why=why)
        return self._store.place_lift(asked), found.release

    async def carry_on(self, name: str) -> None:
        """Do what a person said of a target, whatever step of its incident is under way.

        An open incident's step is not disturbed: its timeline tells of it once that has ended. Until then the word
        stays on the book, for a step that was begun before it may still quarantine.

        Raises:
            DeployerUnavailable: The serving side does not answer, or did not do it yet.
        """
        if (lift := self._store.lifts().get(name)) is None:
            return
        site, newest = self._sites[name], next(iter(self._store.incidents(target=name, limit=1)), None)
        lifts = quarantining(site.deployer)
        if lifts is None or lift.incident != (newest.id if newest else ""):
            self._store.end_lift(lift, at=self._clock(), done=False)
            log.warning("lift_dropped", extra={"target": name, "by": lift.by, "incident": lift.incident})
            return
        waits = newest is not None and not newest.closed and not told(newest, lift)
        if waits and self._done.get(name) == lift.at:
            return
        await lifts.lift()
        if self._done.get(name) != lift.at:
            log.warning("quarantine_lifted", extra={"target": name, "by": lift.by, "why": lift.why})
        self._done[name] = lift.at
        self._see(name, await site.deployer.state())
        if waits:
            return
        if newest and not told(newest, lift):
            self._store.save(tell(newest, lift, self._clock()))
        self._store.end_lift(lift, at=self._clock(), done=True)

    async def look(self, incident: Incident) -> None:
        """See what became of a quarantine after each step of its incident; the next batch of probes is minutes away."""
        name = incident.target
        if not incident.facts.get("containment", {}).get("quarantine") or self._seen.get(name) == incident.version:
            return
        try:
            self._see(name, await self._sites[name].deployer.state())
        except DeployerUnavailable as error:
            log.info("not_seen", extra={"target": name, "why": str(error)})
        self._seen[name] = incident.version

    def _see(self, name: str, state: DeploymentState) -> None:
        if view := self._prober.views.get(name):  # a reload may have removed the target meanwhile
            self._prober.views[name] = replace(view, deployment=state)
