"""What the API takes, and what it says of who calls."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from monitor.api_settings import Scope
from monitor.plain_text import ONE_LINE, REASON_MAX
from monitor.policy import Order
from monitor.web.shapes import Answer, Body

__all__ = [
    "AlertOutcome", "AlertTaken", "AlertsTaken", "LiftBody", "OrderBody", "PauseBody", "Session", "SessionBody",
    "WhoAmI",
]  # fmt: skip


class OrderBody(Body):
    """A person's word on an incident."""

    order: Order = Field(strict=False)
    """approve, abort or roll_back."""


class PauseBody(Body):
    """How long a target is not to be probed."""

    until: AwareDatetime | None = Field(default=None, strict=False)
    """When it ends by itself, with a time zone; null: never."""
    reason: str = Field(default="", max_length=REASON_MAX, pattern=ONE_LINE)
    """Why, one line."""


class LiftBody(Body):
    """Why users are to be served again."""

    reason: str = Field(min_length=1, max_length=REASON_MAX, pattern=ONE_LINE)
    """What was found, one line; kept for the audit."""


class AlertOutcome(StrEnum):
    """What was made of an alert."""

    ACTED = "acted"
    REFUSED = "refused"
    UNMATCHED = "unmatched"
    RESOLVED = "resolved"
    DUPLICATE = "duplicate"
    OLDER = "older"


class AlertTaken(Answer):
    """What was made of one alert."""

    fingerprint: str
    outcome: AlertOutcome
    target: str
    """The target that it is about; empty where no rule matched."""
    incident: str | None
    """The incident that it opened."""
    why: str
    """Why it was refused."""


class AlertsTaken(Answer):
    """What was made of a delivery, alert by alert."""

    alerts: tuple[AlertTaken, ...]


class SessionBody(Body):
    """A token, for a session of the page."""

    token: str = Field(min_length=1, max_length=200)


class Session(Answer):
    """A session that was opened. Its cookie can't be read by scripts."""

    name: str
    scopes: tuple[Scope, ...]
    expires_at: datetime
    csrf: str
    """Say it in X-CSRF-Token with each call that changes something."""


class WhoAmI(Answer):
    """Who calls, and what they may do."""

    name: str
    scopes: tuple[Scope, ...]
    expires_at: datetime | None
    csrf: str
    """Of the session; empty where a token was shown."""
