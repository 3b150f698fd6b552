"""Metrics of incidents: how many are in which state, and how long the newest one has been in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.incident import State
from monitor.metrics.sample import Metrics, Samples

__all__ = ["METRICS", "incidents"]

_STATES = tuple(state.value for state in State)
_STATE = ("target", "state")

METRICS: Metrics = {
    "alignd_incident_state": ("1 for the state of the target's newest incident", _STATE),
    "alignd_incidents": ("Incidents by present state", _STATE),
    "alignd_incident_attempts": ("Attempts in a row that failed at the newest incident's state", ("target",)),
    "alignd_incident_stage_seconds": ("Seconds the newest incident has spent in a state", _STATE),
}  # fmt: skip


def incidents(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say how a target's incidents stand."""
    name, counts, newest = target["name"], target["incidents"], target["newest_incident"]
    now = newest["state"] if newest else ""
    for state in _STATES:
        values = {"alignd_incidents": counts.get(state, 0), "alignd_incident_state": state == now}
        yield Samples((name, state), values)
    if newest:
        yield Samples((name,), {"alignd_incident_attempts": newest["attempts"]})
    for state, seconds in (newest["seconds"] if newest else {}).items():
        yield Samples((name, state), {"alignd_incident_stage_seconds": seconds})
