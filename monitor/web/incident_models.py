"""What the API says of incidents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from monitor.incident import State, Wait
from monitor.policy import Order
from monitor.web.shapes import Answer, ReleaseKnown

__all__ = ["Event", "Gate", "Incident", "IncidentDetail", "Incidents", "OrderPlaced", "Trial"]


class Incident(Answer):
    """A breach, and where it is."""

    id: str
    target: str
    release: str
    state: State
    opened_at: datetime
    closed: bool
    headline: str
    action_needed: bool
    recipe: str
    """The recipe that is being tried; empty where none is left."""
    candidate: str
    last_good: str


class Incidents(Answer):
    """Incidents, newest first."""

    incidents: tuple[Incident, ...]


class Event(Answer):
    """One line of an incident's timeline."""

    at: datetime
    state: State
    note: str
    waits_for: Wait | None
    """What it waits for from then on: an approval, a person, or rails that end by themselves; null: it goes on."""


class Gate(Answer):
    """One gate's word on a repaired release."""

    number: str
    name: str
    of: str
    status: str
    need: str
    detail: str
    measured: float | None
    limit: float | None
    least: bool
    """Whether the limit is a least value."""
    lower: float | None
    upper: float | None
    n: int
    control: dict[str, float]
    passed: bool
    blocks: bool


class Trial(Answer):
    """What one recipe came to."""

    recipe: str
    candidate: str
    why: str
    """Why it ended there; empty while it goes on, or where it passed."""
    accepted: bool | None
    """Null before it was verified."""
    gates: tuple[Gate, ...]


class IncidentDetail(Incident):
    """A breach with its timeline, its repairs and what may be ordered."""

    attempt: int
    attempts_max: int
    accepted: bool
    version: int
    recipes: tuple[str, ...]
    """The ladder, tried in order."""
    events: tuple[Event, ...]
    seconds: dict[str, float]
    """Spent in each state so far."""
    trials: tuple[Trial, ...]
    facts: dict[str, Any]
    """Figures of the steps: evidence, confirmation, containment, recovery."""
    releases: tuple[ReleaseKnown, ...]
    """What is known of the releases that it is about."""
    orders: tuple[Order, ...]
    """What a person may order now."""


class OrderPlaced(Answer):
    """An order that is on the book; the daemon does it within seconds."""

    incident: str
    order: Order
    by: str
    state: State
    """The incident's state when it was ordered."""
