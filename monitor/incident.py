"""Incidents: states, outcomes and the one table that leads from one to the next. Pure.

An effect is done for the state an incident is in; its outcome is handed to ``advance``, and what comes back is
saved with a version check. Repeating an effect after a crash is harmless, for every effect is idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

__all__ = [
    "TERMINAL", "Event", "Incident", "IncidentId", "Outcome", "State", "Trial", "Wait", "advance", "noted",
    "open_incident", "seconds_by_state", "with_facts", "with_trial",
]  # fmt: skip

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
    """Confirmation found no breach, or the release has left service while a person was waited for."""
    RETRY = "retry"
    """A passing fault: the same effect again, one attempt more."""
    NEXT_RECIPE = "next_recipe"
    """This recipe can't repair the checkpoint, or its result failed a gate."""
    REJECTED = "rejected"
    """A person said no, or nobody answered in time."""
    ROLL_BACK = "roll_back"
    """A person orders the last known good release back and the repair stopped."""
    GIVEN_UP = "given_up"
    """Rails held it for so long that a person has to take it over."""
    FAILURE = "failure"


class Wait(StrEnum):
    """What an incident waits for."""

    APPROVAL = "approval"
    """A person's approval."""
    PERSON = "person"
    """Something else that only a person can do."""
    RAILS = "rails"
    """Rails that end by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition, kept for the timeline and the audit.

    Attributes:
        note: For people to read; nothing is decided by its words.
        waits_for: What keeps the incident from then on; ``None`` where it goes on.
    """

    at: datetime
    state: State
    note: str
    waits_for: Wait | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the time as ISO 8601."""
        wait = self.waits_for.value if self.waits_for else None
        return {"at": self.at.isoformat(), "state": self.state.value, "note": self.note, "waits_for": wait}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Event:
        """Rebuild what ``to_json`` wrote; older stores hold events that do not say what they wait for."""
        wait = data.get("waits_for")
        return Event(
            at=datetime.fromisoformat(data["at"]), state=State(data["state"]), note=data["note"],
            waits_for=Wait(wait) if wait else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one recipe came to, kept for the report; failures too.

    Attributes:
        patch: What the worker handed back, in plain values; ``None`` where it failed.
        profile: The candidate's measured profile, ``None`` before verification.
        verification: What each gate said, ``None`` before verification.
        why: Why it ended there, empty while it goes on or where it passed.
    """

    recipe: str
    patch: Mapping[str, Any] | None = None
    candidate: str = ""
    profile: Mapping[str, Any] | None = None
    verification: Mapping[str, Any] | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A breach and what is done about it.

    Attributes:
        recipes: The ladder, tried in order.
        recipe: Index of the recipe that is being tried.
        attempt: Attempts at the present state, from 0.
        candidate: Release id of the patched checkpoint, empty before one is staged.
        accepted: Whether the candidate's verification was accepted.
        last_good: Release to go back to, chosen when the breach is confirmed; empty where there is none.
        trials: One for each recipe that was begun, in order.
        facts: Figures of the steps (evidence, confirmation, containment, recovery), plain values.
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
    last_good: str = ""
    trials: tuple[Trial, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    version: int = 0

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.state in TERMINAL

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; what was noted since does not count. ``None`` while it goes on."""
        ends = next((e.at for e in self.events if e.state in TERMINAL), None)
        return ends if self.closed else None

    @property
    def trial(self) -> Trial | None:
        """The present recipe's trial, if it was begun."""
        return self.trials[self.recipe] if self.recipe < len(self.trials) else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; times as ISO 8601."""
        plain = asdict(self)
        plain["opened_at"] = self.opened_at.isoformat()
        plain["events"] = [e.to_json() for e in self.events]
        plain["state"] = self.state.value
        return plain

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Incident:
        """Rebuild what ``to_json`` wrote."""
        return Incident(
            **{
                **data, "state": State(data["state"]), "opened_at": datetime.fromisoformat(data["opened_at"]),
                "recipes": tuple(data["recipes"]), "trials": tuple(Trial(**t) for t in data["trials"]),
                "events": tuple(Event.from_json(e) for e in data["events"]),
            }
        )  # fmt: skip


_NEXT: Mapping[tuple[State, Outcome], State] = {
    (State.DETECTED, Outcome.SUCCESS): State.OPEN,
    (State.DETECTED, Outcome.CLEARED): State.DISMISSED,
    (State.DETECTED, Outcome.FAILURE): State.ESCALATED,
    (State.OPEN, Outcome.SUCCESS): State.PATCHING,
    (State.OPEN, Outcome.FAILURE): State.ESCALATED,
    (State.OPEN, Outcome.CLEARED): State.DISMISSED,
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
    **{(State.ROLLING_BACK, outcome): State.ESCALATED for outcome in (Outcome.SUCCESS, Outcome.FAILURE)},
    **{(s, Outcome.GIVEN_UP): State.ESCALATED for s in State if s not in TERMINAL | {State.ROLLING_BACK}},
    (State.CONFIRMING, Outcome.GIVEN_UP): State.ROLLING_BACK,
}

_LADDER = frozenset({State.PATCHING, State.STAGING, State.VERIFYING})


def open_incident(
    *, incident: IncidentId, target: str, release: str, recipes: tuple[str, ...], now: datetime, note: str
) -> Incident:
    """Return a new incident in ``DETECTED``."""
    return Incident(
        id=incident, target=target, release=release, state=State.DETECTED, opened_at=now, recipes=recipes,
        events=(Event(at=now, state=State.DETECTED, note=note),),
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
    if outcome is Outcome.ROLL_BACK and incident.state is not State.ROLLING_BACK:
        state = State.ROLLING_BACK
    if state is None:
        raise ValueError(f"incident {incident.id}: {outcome} is no outcome of {incident.state}")
    if state is State.PROMOTING and not incident.accepted:
        raise ValueError(f"incident {incident.id}: no accepted verification; nothing may be promoted")
    moved = replace(
        incident, attempt=0, candidate=incident.candidate if candidate is None else candidate,
        accepted=incident.accepted or (incident.state is State.VERIFYING and outcome is Outcome.SUCCESS),
    )  # fmt: skip
    return _moved(moved, state, now, note)


def noted(incident: Incident, *, now: datetime, note: str, waits_for: Wait | None = None) -> Incident:
    """Add an event without a step; the same one twice in a row is one event."""
    event = Event(at=now, state=incident.state, note=note, waits_for=waits_for)
    if incident.events and replace(incident.events[-1], at=now) == event:
        return incident
    return replace(incident, events=(*incident.events, event))


def with_facts(incident: Incident, facts: Mapping[str, Any]) -> Incident:
    """Add figures of a step; a later figure of the same name takes the earlier one's place."""
    return replace(incident, facts={**incident.facts, **facts})


def with_trial(incident: Incident, trial: Trial) -> Incident:
    """Put down what the present recipe has come to; a rung that left nothing is put down as such."""
    begun = incident.trials[: incident.recipe]
    silent = tuple(Trial(recipe=r, why="no result") for r in incident.recipes[len(begun) : incident.recipe])
    return replace(incident, trials=(*begun, *silent, trial))


def seconds_by_state(incident: Incident, now: datetime) -> dict[str, float]:
    """Seconds spent in each state so far, in the order of first entry."""
    spent: dict[str, float] = {}
    for event, following in zip(incident.events, (*incident.events[1:], None), strict=True):
        end = event.at if event.state in TERMINAL else (following.at if following else now)
        spent[event.state.value] = spent.get(event.state.value, 0.0) + (end - event.at).total_seconds()
    return spent


def _next_recipe(incident: Incident, now: datetime, note: str) -> Incident:
    cleared = replace(incident, attempt=0, candidate="", accepted=False, recipe=incident.recipe + 1)
    return _moved(cleared, State.PATCHING if cleared.recipe < len(incident.recipes) else State.ESCALATED, now, note)


def _moved(incident: Incident, state: State, now: datetime, note: str) -> Incident:
    return replace(incident, state=state, events=(*incident.events, Event(at=now, state=state, note=note)))
