"""What happened to a target in a period, by the store: incidents, decisions, words of people, releases, pauses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.checkpoint import find_release
from deploy.errors import DeployError
from monitor.audits.request import Period
from monitor.incident import Incident
from monitor.store import Store

__all__ = ["happenings", "release_json"]

_INCIDENTS = 1000


def happenings(store: Store, target: str, period: Period, *, releases: Path, served: str) -> dict[str, Any]:
    """Tell what the store knows of a period, in plain values.

    Args:
        releases: The release store, for digests.
        served: What answered the audit.
    """
    incidents = [
        i for i in store.incidents(target=target, limit=_INCIDENTS)
        if i.opened_at < period.end and not (i.closed and i.events[-1].at < period.begin)
    ]  # fmt: skip
    incidents.sort(key=lambda i: i.opened_at)
    known = {k.release: k for k in store.known(target)}
    names = {served, *(r for i in incidents for r in (i.release, i.candidate, i.last_good))}
    names |= {k.release for k in known.values() if period.holds(k.marked_at) or k.good}
    pause = store.pause_of(target)
    return {
        "releases": [
            {**release_json(releases, name), "good": name in known and known[name].good, "served": name == served}
            for name in sorted(names - {""})
        ],
        "incidents": [_incident(i) for i in incidents],
        "decisions": [d for i in incidents for d in _decisions(i, period)],
        "pauses": [
            {"by": p.by, "at": p.at.isoformat(), "until": p.until.isoformat() if p.until else None}
            for p in (pause,) if p and p.at < period.end and (p.until is None or p.until >= period.begin)
        ],
    }  # fmt: skip


def release_json(releases: Path, name: str) -> dict[str, Any]:
    """Return a release's name, and what its manifest says where the release store has it."""
    try:
        manifest = find_release(releases, name).manifest
    except DeployError:
        return {"id": name, "digest": None, "parent": None, "creator": None, "created_at": None}
    return {
        "id": name, "digest": manifest.digest, "parent": manifest.parent, "creator": manifest.creator,
        "created_at": manifest.created_at.isoformat(),
    }  # fmt: skip


def _incident(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id, "release": incident.release, "state": incident.state.value,
        "opened_at": incident.opened_at.isoformat(),
        "closed_at": incident.events[-1].at.isoformat() if incident.closed and incident.events else None,
        "candidate": incident.candidate, "recipes": [t.recipe for t in incident.trials],
        "accepted": incident.accepted,
    }  # fmt: skip


def _decisions(incident: Incident, period: Period) -> Iterable[dict[str, Any]]:
    return (
        {"at": e.at.isoformat(), "incident": incident.id, "state": e.state.value, "note": e.note}
        for e in incident.events
        if period.holds(e.at)
    )
