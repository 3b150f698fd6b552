"""What is worth telling of an incident, and in which words. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from monitor.incident import Incident, State, Wait
from monitor.notifier import Kind, Notification, Severity
from monitor.plain_text import plain

__all__ = ["digest_of", "of_incident", "trial_of"]

_NOTE, _TITLE, _PARTS = 600, 160, 50
_SEVERITY = {
    Kind.INCIDENT_OPENED: Severity.WARNING, Kind.CONTAINED: Severity.WARNING, Kind.APPROVAL_WAITING: Severity.WARNING,
    Kind.ACTION_NEEDED: Severity.CRITICAL, Kind.RECOVERED: Severity.INFO, Kind.DISMISSED: Severity.INFO,
    Kind.ESCALATED: Severity.CRITICAL, Kind.HELD: Severity.WARNING,
}  # fmt: skip
_WORDS = {
    Kind.INCIDENT_OPENED: "may have drifted", Kind.CONTAINED: "breach confirmed",
    Kind.APPROVAL_WAITING: "a repair waits for approval", Kind.ACTION_NEEDED: "action needed",
    Kind.HELD: "held by a rail",
    Kind.RECOVERED: "recovered", Kind.DISMISSED: "dismissed", Kind.ESCALATED: "escalated: a person must look",
}  # fmt: skip
_ENDS = {
    State.RECOVERED: Kind.RECOVERED, State.DISMISSED: Kind.DISMISSED, State.ESCALATED: Kind.ESCALATED
}  # fmt: skip
_WAITS = {Wait.APPROVAL: Kind.ACTION_NEEDED, Wait.PERSON: Kind.ACTION_NEEDED, Wait.RAILS: Kind.HELD}


def of_incident(incident: Incident, *, page: str = "") -> Notification | None:
    """Return what to tell of an incident's last event; nothing where nobody needs to hear of it.

    The id is the event's place in the incident, so that the same event is the same notification, however often the
    step that led to it is done again.

    Args:
        page: Base address of alignd's page, empty where there is none.
    """
    kind = _kind(incident)
    if kind is None:
        return None
    last = incident.events[-1]
    return Notification(
        id=f"{incident.id}.{len(incident.events)}", kind=kind, severity=_SEVERITY[kind], at=last.at,
        title=plain(f"{incident.target}: {_WORDS[kind]}", most=_TITLE), text=plain(last.note, most=_NOTE),
        target=incident.target, release=incident.release, incident=incident.id, state=last.state.value,
        url=f"{page.rstrip('/')}/incidents/{incident.id}" if page else "", resolved=kind is Kind.RECOVERED,
    )  # fmt: skip


def _kind(incident: Incident) -> Kind | None:
    last, before = incident.events[-1], incident.events[-2] if incident.events[1:] else None
    if before is None:
        return Kind.INCIDENT_OPENED
    if last.state in _ENDS:
        return _ENDS[last.state]
    if (last.state, last.waits_for) == (State.AWAITING_APPROVAL, Wait.APPROVAL):
        return Kind.APPROVAL_WAITING
    if last.waits_for:
        return _WAITS[last.waits_for]
    return Kind.CONTAINED if (before.state, last.state) == (State.OPEN, State.PATCHING) else None


def digest_of(parts: Sequence[Notification], *, now: datetime) -> Notification:
    """Put many notifications, the oldest first, into one; a long list is cut at its beginning, the count is whole."""
    worst = max((p.severity for p in parts), key=lambda s: s.rank)
    targets = sorted({p.target for p in parts if p.target})
    whole = hashlib.sha256("\n".join(p.id for p in parts).encode()).hexdigest()
    return Notification(
        id=f"digest.{whole[:24]}", kind=Kind.DIGEST, severity=worst, at=now, count=len(parts),
        title=f"{len(parts)} notification{'s' * (len(parts) > 1)} of {_named(targets)}",
        text=plain(f"Targets: {', '.join(targets)}" if targets else "", most=_NOTE), parts=tuple(parts[-_PARTS:]),
        target=targets[0] if len(targets) == 1 else "",
    )  # fmt: skip


def _named(targets: Sequence[str]) -> str:
    return targets[0] if len(targets) == 1 else f"{len(targets)} targets"


def trial_of(channel: str, *, identity: str, now: datetime) -> Notification:
    """Return what ``alignd notify test`` sends."""
    return Notification(
        id=f"test.{identity}", kind=Kind.TEST, severity=Severity.INFO, at=now, title=f"test of channel {channel}",
        text="If you can read this, alignd can reach you here.",
    )  # fmt: skip
