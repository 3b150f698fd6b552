"""Metrics of rails: what holds an open incident, since when, and how the target's breaker stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from monitor.metrics.sample import Metrics, Samples
from monitor.rails import RAILS

__all__ = ["METRICS", "rails"]

_SINCE = "alignd_remediation_wanted_since_timestamp_seconds"

METRICS: Metrics = {
    "alignd_rail_standing": ("1 where a rail holds the target's open incident, 0 for the others", ("target", "rail")),
    _SINCE: ("Since when rails hold the target's open incident", ("target",)),
    "alignd_breaker_open": ("1 where repairs failed in a row, and a person has to close the breaker", ("target",)),
    "alignd_breaker_failures": ("Repairs that failed in a row", ("target",)),
}  # fmt: skip


def rails(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say what holds a target's repair."""
    name, breaker = target["name"], target["breaker"]
    yield Samples((name,), {
        "alignd_breaker_open": breaker["open"], "alignd_breaker_failures": breaker["failures"],
        _SINCE: datetime.fromisoformat(target["held_since"]).timestamp() if target["held_since"] else None,
    })  # fmt: skip
    held = {rail["name"] for rail in target["rails"]}
    for rail in RAILS if target["incident"] else ():
        yield Samples((name, rail), {"alignd_rail_standing": rail in held})
