"""What rails leave in an incident: what holds it, since when, what a person lifted, and what it has begun. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from monitor.incident import Incident, State, Wait, noted, with_facts
from monitor.rails import Beginning, Facts, Hold, Rails, began, patches

__all__ = ["approved", "begun", "given_up", "held", "liftable"]

_FREE: Mapping[str, Any] = {"held": [], "held_since": ""}
_LIFTED_BY_APPROVAL = frozenset({"persistence", "storm", "cooldown", "budget", "window"})
"""Rails about time and suspicion, which a person may look at and approve; the others have to be put right."""


def held(incident: Incident, holds: tuple[Hold, ...], now: datetime) -> Incident:
    """Return the incident as it waits for rails: the same ones twice in a row are noted once."""
    facts = {"held": [h.to_json() for h in holds], "held_since": incident.facts.get("held_since") or now.isoformat()}
    waits_for = Wait.PERSON if any(h.person for h in holds) else Wait.RAILS
    return noted(with_facts(incident, facts), now=now, note=_words(holds), waits_for=waits_for)


def approved(incident: Incident, *, by: str, now: datetime) -> Incident:
    """Return the incident as a person approved it: in spite of the rails that hold it, or the repair."""
    names = liftable(incident)
    if not names:
        return noted(with_facts(incident, {"approved_by": by}), now=now, note=f"{by} approved the repair")
    agreed = {**incident.facts.get("lifted", {}), **dict.fromkeys(names, by)}
    free = with_facts(incident, {**_FREE, "lifted": agreed})
    return noted(free, now=now, note=f"{by} approved it in spite of {', '.join(names)}")


def liftable(incident: Incident) -> tuple[str, ...]:
    """Return the rails that hold an incident now and that a person's approval lifts."""
    return tuple(h["name"] for h in incident.facts.get("held", ()) if h["name"] in _LIFTED_BY_APPROVAL)


def begun(facts: Facts, rails: Rails, now: datetime) -> Incident:
    """Return the incident as it goes on where no rail stands: with its place, where its state takes one."""
    incident, state = facts.incident, facts.incident.state
    free = with_facts(incident, _FREE) if incident.facts.get("held") else incident
    if state is State.PATCHING and not began(incident, Beginning.REPAIR):
        number = len(patches(facts, now)) + 1
        note = f"the repair begins, {number} of {rails.patches_per_30_days} in 30 days"
        return noted(_with_place(with_facts(free, {"base": facts.base}), Beginning.REPAIR, now), now=now, note=note)
    if state is State.PROMOTING and not began(incident, Beginning.PROMOTION):
        return noted(_with_place(free, Beginning.PROMOTION, now), now=now, note="the promotion begins")
    return free if free == incident else noted(free, now=now, note="no rail stands any more")


def _with_place(incident: Incident, what: Beginning, now: datetime) -> Incident:
    return with_facts(incident, {"began": {**incident.facts.get("began", {}), what.value: now.isoformat()}})


def _words(holds: tuple[Hold, ...]) -> str:
    """Say what stands, as an incident's event says it."""
    told = [f"{h.name}: {h.why}" + (f" (until {h.until:%Y-%m-%d %H:%M} UTC)" if h.until else "") for h in holds]
    return ("action needed: " if any(h.person for h in holds) else "") + "held by " + "; ".join(told)


def given_up(incident: Incident, rails: Rails, holds: tuple[Hold, ...], now: datetime) -> bool:
    """Whether an incident was held for so long that a person has to take it over; a pause is a person's own word."""
    since = incident.facts.get("held_since")
    if not since or any(h.name == "pause" for h in holds):
        return False
    return now >= datetime.fromisoformat(since) + timedelta(hours=rails.give_up_hours)
