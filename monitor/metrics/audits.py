"""Metrics of audits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.metrics.sample import Metrics, Samples, moment

__all__ = ["METRICS", "audits"]

METRICS: Metrics = {
    "alignd_audit_last_timestamp_seconds": ("When the newest audit of a target began", ("target",)),
    "alignd_audits_failed_total": ("Planned audits that came to nothing and are tried again", ("target",)),
}  # fmt: skip


def audits(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say how a target's audits stand; no failures are counted where none is planned."""
    state = target["audits"]
    values = {
        "alignd_audit_last_timestamp_seconds": moment(state["newest_at"]) if state["newest_at"] else None,
        "alignd_audits_failed_total": state["failed"],
    }
    yield Samples((target["name"],), values)
