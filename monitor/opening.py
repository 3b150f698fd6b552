"""Incidents are opened: by the evidence, or because something else than probing asked for one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from monitor.errors import ConfigError, OpenIncident
from monitor.incident import Incident, IncidentId, open_incident, with_facts
from monitor.outbox import Outbox
from monitor.policy import left_to_a_person
from monitor.probe_log import Epoch
from monitor.site import Site
from monitor.store import Store
from monitor.watch import Watch

__all__ = ["Opening"]

log = logging.getLogger("alignd")


class Opening:
    """Puts new incidents down, each in ``DETECTED``; a target has one open at most."""

    def __init__(
        self, *, sites: Mapping[str, Site], store: Store, clock: Callable[[], datetime], outbox: Outbox,
        watched: Callable[[str], tuple[Epoch, Watch] | None],
    ) -> None:  # fmt: skip
        """Take the watched targets, the store, who is told, and what probing found."""
        self._sites = sites
        self._store = store
        self._clock = clock
        self._outbox = outbox
        self._watched = watched

    def on_evidence(self, site: Site, release: str, watch: Watch) -> None:
        """Open an incident of a breach, unless a person has it already."""
        previous = next(iter(self._store.incidents(target=site.name, limit=1)), None)
        if not self.left_to_a_person(previous, release, watch):
            name = IncidentId(f"{site.name}-{self._clock():%Y%m%d-%H%M%S}")
            self._open(site, release, watch, incident=name, note=watch.told(release))

    def on_request(self, name: str, incident: IncidentId, *, by: str, repair: bool) -> Incident:
        """Open an incident that was asked for; it is confirmed, and held by policy, as any.

        Args:
            incident: Its id; one request must always give the same.
            repair: Whether to repair after it is contained.

        Raises:
            ConfigError: Nothing is known of the target yet, it has an open incident, or is a person's business.
        """
        current, previous = self._watched(name), next(iter(self._store.incidents(target=name, limit=1)), None)
        if current is None:
            raise ConfigError(f"target {name} was not probed yet: there is no release to hold an incident against")
        epoch, watch = current
        if self.left_to_a_person(previous, epoch.release, watch):
            raise ConfigError(f"target {name}: the last incident of {epoch.release} was escalated; a person goes on")
        site, note = self._sites[name], f"{by} asked for it"
        if not self._open(site, epoch.release, watch, incident=incident, note=note, repair=repair):
            raise ConfigError(f"target {name} has an open incident")
        return self._store.load(incident)

    def left_to_a_person(self, previous: Incident | None, release: str, watch: Watch) -> bool:
        """Whether a target's last incident leaves this release to a person still: no other one was served since."""
        if previous is None or not left_to_a_person(previous, release, healthy_since=watch.healthy_since):
            return False
        return not self._store.others_since(previous.target, release, previous.events[-1].at)

    def _open(
        self, site: Site, release: str, watch: Watch, *, incident: IncidentId, note: str, repair: bool = True
    ) -> bool:
        figures = {
            "log_evidence": watch.log_r, "n": watch.gauge.n, "harmful": int(watch.gauge.total),
            "missing": watch.missing, "gamma_breach": watch.rates.gamma_breach, "epoch": watch.epoch.id,
            "position": watch.position, "fired": list(watch.fired),
        }  # fmt: skip
        recipes = tuple(r.plugin for r in site.recipes) if repair else ()
        opened = open_incident(
            incident=incident, target=site.name, release=release, recipes=recipes, now=self._clock(), note=note
        )
        opened = with_facts(opened, {"evidence": figures})
        try:
            self._store.create(opened, letters=self._outbox.of(opened))
        except OpenIncident:
            return False
        log.warning("incident_opened", extra={"target": site.name, "incident": incident, "release": release})
        return True
