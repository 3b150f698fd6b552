"""Alerts as Alertmanager and Grafana deliver them, and what each comes to. Pure.

A delivery may come twice, late, or in the wrong order. An alert is known by its group and fingerprint, and one of its
occurrences by when it started: each occurrence is acted on once at most, and never after it was resolved. One that was
refused is decided anew when it comes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from monitor.hook_settings import AlertRule

__all__ = ["Alert", "Delivery", "Fate", "Seen", "fate_of", "key_of", "rule_for", "seen_after"]

_AHEAD_MAX = timedelta(minutes=5)
"""How far a sender's clock may be ahead. An occurrence of a far day would make every real one an older one."""


class Alert(BaseModel):
    """One alert of a delivery; what is not named here is not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    startsAt: AwareDatetime  # noqa: N815  (the sender's name)
    fingerprint: str = Field(min_length=1, max_length=200)


class Delivery(BaseModel):
    """A web hook's body, version 4."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal["4", "1"]
    """Alertmanager's is 4; Grafana sends 1, and the same shape."""
    groupKey: str = Field(min_length=1, max_length=4000)  # noqa: N815  (the sender's name)
    alerts: tuple[Alert, ...] = Field(max_length=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The newest occurrence of an alert that was acted on or is over."""

    starts_at: datetime
    resolved: bool


class Fate(StrEnum):
    """What is made of an alert."""

    ACT = "acted"
    """It is to be acted on."""
    UNMATCHED = "unmatched"
    """No rule is about it."""
    RESOLVED = "resolved"
    """It is over: it says so, or said so before."""
    DUPLICATE = "duplicate"
    OLDER = "older"
    """A newer occurrence was acted on, or is over."""
    AHEAD = "ahead"
    """It has yet to start."""


def key_of(group: str, alert: Alert) -> str:
    """Return what an alert is known by; group keys hold label values, so that a digest is kept."""
    return hashlib.sha256(f"{group}\0{alert.fingerprint}".encode()).hexdigest()[:24]


def rule_for(alert: Alert, rules: Sequence[AlertRule]) -> AlertRule | None:
    """Return the first rule that an alert's labels match."""
    return next((r for r in rules if all(alert.labels.get(k) == v for k, v in r.match.items())), None)


def fate_of(alert: Alert, rule: AlertRule | None, seen: Seen | None, *, now: datetime) -> Fate:
    """Decide what is made of an alert.

    Args:
        seen: The newest occurrence of it that was acted on or is over.
    """
    if alert.startsAt > now + _AHEAD_MAX:
        return Fate.AHEAD
    if seen and alert.startsAt < seen.starts_at:
        return Fate.OLDER
    if alert.status == "resolved" or (seen and seen.resolved and alert.startsAt == seen.starts_at):
        return Fate.RESOLVED
    if seen and alert.startsAt == seen.starts_at:
        return Fate.DUPLICATE
    return Fate.ACT if rule else Fate.UNMATCHED


def seen_after(alert: Alert, seen: Seen | None) -> Seen:
    """Return what is known of an alert once this was acted on, or is over."""
    if seen and alert.startsAt < seen.starts_at:
        return seen
    over = alert.status == "resolved" or bool(seen and seen.resolved and alert.startsAt == seen.starts_at)
    return Seen(starts_at=alert.startsAt, resolved=over)
