"""What an effect came to, and what it works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monitor.incident import Incident, Outcome
from monitor.measure import log_entries
from monitor.site import Say, Site
from monitor.store import Store
from probes.result import SweepResult

__all__ = ["Effect", "Step", "effect", "scratch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an effect came to. ``outcome`` is ``None`` where a person is waited for."""

    incident: Incident
    outcome: Outcome | None
    note: str
    candidate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step's surroundings."""

    site: Site
    store: Store
    say: Say

    def keep(self, sweep: SweepResult, purpose: str, release: str) -> None:
        """Write a sweep to the probe log."""
        entries = log_entries(self.site.measure, sweep, purpose=purpose, release=release)
        self.store.append(self.site.name, entries, epoch=None)


def effect(incident: Incident, outcome: Outcome | None, note: str) -> Effect:
    """Say what an effect came to."""
    return Effect(incident=incident, outcome=outcome, note=note)


def scratch(incident: Incident, site: Site) -> Path:
    """Return where the present recipe writes to."""
    return site.releases / ".work" / f"{incident.id}-{incident.recipe}"
