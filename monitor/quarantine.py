"""A person's word that users are to be served again: a quarantine is lifted. Pure.

The word is kept until it is done and told of, so that a daemon that is killed carries on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from monitor.incident import Incident, noted, with_facts

__all__ = ["Lift", "LiftBook", "lifted_by", "tell", "told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """Who ended a target's quarantine, and why.

    Attributes:
        incident: The target's newest one when it was said; empty where there was none. A later one is not meant.
    """

    target: str
    incident: str
    by: str
    at: datetime
    why: str


class LiftBook(Protocol):
    """Which quarantines are to be lifted."""

    def place_lift(self, lift: Lift) -> Lift:
        """Put a lift on the book; one of this target that is there already stays, and is returned."""
        ...

    def lifts(self) -> Mapping[str, Lift]:
        """Return what is still to be done, by target."""
        ...

    def end_lift(self, lift: Lift, *, at: datetime, done: bool) -> None:
        """Take a lift off the book; again does no harm.

        Args:
            done: Whether users are served again; else it means nothing any more.
        """
        ...


def told(incident: Incident, lift: Lift) -> bool:
    """Whether an incident's timeline tells of a lift."""
    said: Mapping[str, str] = incident.facts.get("lift", {})
    return said.get("at") == lift.at.isoformat()


def tell(incident: Incident, lift: Lift, now: datetime) -> Incident:
    """Return the incident with a lift in its timeline; it is contained by nothing from then on."""
    facts = {"lift": {"by": lift.by, "at": lift.at.isoformat(), "why": lift.why}}
    return noted(with_facts(incident, facts), now=now, note=f"{lift.by} ordered: lift the quarantine, {lift.why}")


def lifted_by(incident: Incident) -> str:
    """Return who lifted an incident's quarantine; empty where nobody did."""
    said: Mapping[str, str] = incident.facts.get("lift", {})
    return said.get("by", "")
