"""Notifications that the channels' tests send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from monitor.notifier import Kind, Notification, Severity
from monitor.telling import digest_of

__all__ = ["ESCALATED", "MANY"]

ESCALATED = Notification(
    id="prod-20260101-000000.7", kind=Kind.ESCALATED, severity=Severity.CRITICAL,
    at=datetime(2026, 1, 1, 12, tzinfo=UTC), title="prod: escalated: a person must look",
    text="no last known good release; set <last_known_good> & try again", target="prod", release="m@0123456789ab",
    incident="prod-20260101-000000", state="ESCALATED", url="https://alignd.test/incidents/prod-20260101-000000",
)  # fmt: skip
MANY = digest_of(
    [replace(ESCALATED, id=f"t{i}.1", target=f"t{i}", title=f"t{i}: escalated") for i in range(60)], now=ESCALATED.at
)
