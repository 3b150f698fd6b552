"""What the API says of what would be done about an incident from here."""

from __future__ import annotations

from datetime import datetime

from monitor.incident import State
from monitor.policy import Mode
from monitor.web.shapes import Answer

__all__ = ["Plan", "PlannedStep", "Rail"]


class Rail(Answer):
    """What would keep a step from being taken, as things are now."""

    name: str
    why: str
    until: datetime | None
    """When it stands no more by itself; null where no time ends it."""
    person: bool
    """Whether only a person ends it."""


class PlannedStep(Answer):
    """One state on the way."""

    state: State
    does: str
    otherwise: str
    """What comes of it where that fails."""
    person: bool
    """Whether a person's word is waited for there."""
    rails: tuple[Rail, ...]


class Plan(Answer):
    """What would be done, state by state; nothing of it is done by asking."""

    incident: str
    target: str
    state: State
    mode: Mode
    deployer: str
    digests: dict[str, str]
    """Of each release that is named, or that it is not in the store."""
    recipes: tuple[str, ...]
    """Those that are left, in the order in which they are tried."""
    steps: tuple[PlannedStep, ...]
    """From the present state on; none where the incident has ended."""
