"""Incidents: states, outcomes and the one table that leads from one to the next. Pure.

An effect is done for the state an incident is in; its outcome is handed to ``advance``, and what comes back is
saved with a version check. Repeating an effect after a crash is harmless, for every effect is idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType

__all__ = ["TERMINAL", "Event", "Incident", "IncidentId", "Outcome", "State", "advance", "open_incident"]

IncidentId = NewType("IncidentId", str)


class State(StrEnum):
    """Where an incident is."""

    DETECTED = "DETECTED"
    OPEN = "OPEN"
    PATCHING = "PATCHING"
    STAGING = "STAGING"
    VERIFYING = "VERIFYING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    PROMOTING = "PROMOTING"
    CONFIRMING = "CONFIRMING"
    ROLLING_BACK = "ROLLING_BACK"
    RECOVERED = "RECOVERED"
    DISMISSED = "DISMISSED"
    ESCALATED = "ESCALATED"


TERMINAL = frozenset({State.RECOVERED, State.DISMISSED, State.ESCALATED})


class Outcome(StrEnum):
    """What an effect came to."""

    SUCCESS = "success"
    CLEARED = "cleared"
    """Confirmation found no breach."""
    RETRY = "retry"
    """A passing fault: the same effect again, one attempt more."""
    NEXT_RECIPE = "next_recipe"
    """This recipe can't repair the checkpoint, or its result failed a gate."""
    REJECTED = "rejected"
    """A person said no, or nobody answered in time."""
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition, kept for the timeline and the audit."""

    at: datetime
    state: State
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A breach and what is done about it.

    Attributes:
        recipes: The ladder, tried in order.
        recipe: Index of the recipe that is being tried.
        attempt: Attempts at the present state, from 0.
        candidate: Release id of the patched checkpoint, empty before one is staged.
        accepted: Whether the candidate's verification was accepted.
        version: Raised by each save; a save of an older version is refused.
    """

    id: IncidentId
    target: str
    release: str
    state: State
    opened_at: datetime
    recipes: tuple[str, ...]
    recipe: int = 0
    attempt: int = 0
    attempts_max: int = 3
    candidate: str = ""
    accepted: bool = False
    events: tuple[Event, ...] = ()
    version: int = 0

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.state in TERMINAL


_NEXT: Mapping[tuple[State, Outcome], State] = {
    (State.DETECTED, Outcome.SUCCESS): State.OPEN,
    (State.DETECTED, Outcome.CLEARED): State.DISMISSED,
    (State.DETECTED, Outcome.FAILURE): State.ESCALATED,
    (State.OPEN, Outcome.SUCCESS): State.PATCHING,
    (State.OPEN, Outcome.FAILURE): State.ESCALATED,
    (State.PATCHING, Outcome.SUCCESS): State.STAGING,
    (State.PATCHING, Outcome.FAILURE): State.ESCALATED,
    (State.STAGING, Outcome.SUCCESS): State.VERIFYING,
    (State.STAGING, Outcome.FAILURE): State.ESCALATED,
    (State.VERIFYING, Outcome.SUCCESS): State.AWAITING_APPROVAL,
    (State.VERIFYING, Outcome.FAILURE): State.ESCALATED,
    (State.AWAITING_APPROVAL, Outcome.SUCCESS): State.PROMOTING,
    (State.AWAITING_APPROVAL, Outcome.REJECTED): State.DISMISSED,
    (State.PROMOTING, Outcome.SUCCESS): State.CONFIRMING,
    (State.PROMOTING, Outcome.FAILURE): State.ROLLING_BACK,
    (State.CONFIRMING, Outcome.SUCCESS): State.RECOVERED,
    (State.CONFIRMING, Outcome.FAILURE): State.ROLLING_BACK,
    (State.ROLLING_BACK, Outcome.SUCCESS): State.ESCALATED,
    (State.ROLLING_BACK, Outcome.FAILURE): State.ESCALATED,
}

_LADDER = frozenset({State.PATCHING, State.STAGING, State.VERIFYING})


def open_incident(
    *, incident: IncidentId, target: str, release: str, recipes: tuple[str, ...], now: datetime, note: str
) -> Incident:
    """Return a new incident in ``DETECTED``."""
    first = Event(at=now, state=State.DETECTED, note=note)
    return Incident(
        id=incident, target=target, release=release, state=State.DETECTED, opened_at=now, recipes=recipes,
        events=(first,),
    )  # fmt: skip


def advance(
    incident: Incident, outcome: Outcome, *, now: datetime, note: str, candidate: str | None = None
) -> Incident:
    """Apply an effect's outcome.

    Args:
        incident: As it was when the effect began.
        candidate: The release that staging brought up.

    Returns:
        The next incident, with an event. A retry beyond ``attempts_max`` is a failure (in the ladder: the next
        recipe); a ladder without a next recipe escalates.

    Raises:
        ValueError: The incident has ended, or the table has no such step.
    """
    if incident.closed:
        raise ValueError(f"incident {incident.id} has ended in {incident.state}")
    if outcome is Outcome.RETRY:
        if incident.attempt + 1 < incident.attempts_max:
            return _moved(replace(incident, attempt=incident.attempt + 1), incident.state, now, note)
        outcome = Outcome.NEXT_RECIPE if incident.state in _LADDER else Outcome.FAILURE
    if outcome is Outcome.NEXT_RECIPE and incident.state in _LADDER:
        return _next_recipe(incident, now, note)
    state = _NEXT.get((incident.state, outcome))
    if state is None:
        raise ValueError(f"incident {incident.id}: {outcome} is no outcome of {incident.state}")
    if state is State.PROMOTING and not incident.accepted:
        raise ValueError(f"incident {incident.id}: no accepted verification; nothing may be promoted")
    moved = replace(
        incident,
        attempt=0,
        candidate=incident.candidate if candidate is None else candidate,
        accepted=incident.accepted or (incident.state is State.VERIFYING and outcome is Outcome.SUCCESS),
    )
    return _moved(moved, state, now, note)


def _next_recipe(incident: Incident, now: datetime, note: str) -> Incident:
    cleared = replace(incident, attempt=0, candidate="", accepted=False, recipe=incident.recipe + 1)
    ladder_left = cleared.recipe < len(incident.recipes)
    return _moved(cleared, State.PATCHING if ladder_left else State.ESCALATED, now, note)


def _moved(incident: Incident, state: State, now: datetime, note: str) -> Incident:
    event = Event(at=now, state=state, note=note)
    return replace(incident, state=state, events=(*incident.events, event))
