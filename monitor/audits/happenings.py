"""What happened to a target in a period, by the store: incidents, decisions, words of people, releases, settings."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.checkpoint import find_release
from deploy.errors import DeployError
from monitor.audit import DAEMON, SealedEntry, verify
from monitor.audits.request import Period
from monitor.incident import Incident
from monitor.store import Store

__all__ = ["happenings", "release_json"]

_INCIDENTS = 1000
_ENTRIES = 10_000


def happenings(store: Store, target: str, period: Period, *, releases: Path, served: str) -> dict[str, Any]:
    """Tell what the store knows of a period, in plain values.

    Args:
        releases: The release store, for digests.
        served: What answered the audit.
    """
    incidents = [
        i for i in store.incidents(target=target, limit=_INCIDENTS)
        if i.opened_at < period.end and not (i.ended_at and i.ended_at < period.begin)
    ]  # fmt: skip
    incidents.sort(key=lambda i: i.opened_at)
    known = {k.release: k for k in store.known(target)}
    names = {served, *(r for i in incidents for r in (i.release, i.candidate, i.last_good))}
    names |= {k.release for k in known.values() if period.holds(k.marked_at) or k.good}
    mine = {target, DAEMON, *(i.id for i in incidents), *names}
    told = store.audit_log(since=period.begin, limit=_ENTRIES)
    log = [e for e in told if datetime.fromisoformat(e.at) < period.end and e.subject in mine]
    verdict = verify(store.audit_chain())
    return {
        "releases": [
            {**release_json(releases, name), "good": name in known and known[name].good, "served": name == served}
            for name in sorted(names - {""})
        ],
        "incidents": [_incident(i) for i in incidents],
        "decisions": [d for i in incidents for d in _decisions(i, period)],
        "people": [_entry(e) for e in log if e.actor != DAEMON],
        "daemon": [_entry(e) for e in log if e.subject == DAEMON],
        "log": verdict.to_json(),
    }  # fmt: skip


def _entry(entry: SealedEntry) -> dict[str, Any]:
    return {k: v for k, v in entry.to_json().items() if k not in {"previous", "hash"}}


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
        "closed_at": incident.ended_at.isoformat() if incident.ended_at else None,
        "candidate": incident.candidate, "recipes": [t.recipe for t in incident.trials],
        "accepted": incident.accepted,
    }  # fmt: skip


def _decisions(incident: Incident, period: Period) -> Iterable[dict[str, Any]]:
    return (
        {"at": e.at.isoformat(), "incident": incident.id, "state": e.state.value, "note": e.note}
        for e in incident.events
        if period.holds(e.at)
    )
