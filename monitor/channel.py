"""A channel with what the settings say of it: what goes out by it, and when a failed one is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.notifier import Kind, Notification, Notifier, Severity

__all__ = ["Channel", "delay_seconds", "waits"]

_FIRST_SECONDS, _LAST_SECONDS, _ASKED_SECONDS = 5.0, 900.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel; see ``monitor.notify_settings``.

    Attributes:
        targets: Empty for all.
    """

    name: str
    plugin: str
    notifier: Notifier
    events: frozenset[Kind]
    targets: frozenset[str]
    severity: Severity
    digest_above: int
    max_age_hours: float

    def wants(self, notification: Notification) -> bool:
        """Whether a notification goes out by it."""
        here = not self.targets or notification.target in self.targets
        return here and notification.kind in self.events and notification.severity.rank >= self.severity.rank


def delay_seconds(failures: int, *, draw: float, asked: float | None = None) -> float:
    """Return how long to wait after so many failures in a row: 5 s, doubled each time, at most 15 minutes.

    Args:
        failures: At least 1.
        draw: From [0, 1): half of the wait is drawn, so that channels that failed together don't come back together.
        asked: What the other side asked for; kept to, up to an hour.
    """
    longest: float = min(_LAST_SECONDS, _FIRST_SECONDS * 2 ** min(failures - 1, 30))
    return max(longest * (0.5 + draw / 2), min(asked or 0.0, _ASKED_SECONDS))


def waits(until: datetime, now: datetime) -> bool:
    """Whether a moment is still to come; one that no wait leads to is of a clock that was set back meanwhile."""
    return now < until <= now + timedelta(seconds=_ASKED_SECONDS)
