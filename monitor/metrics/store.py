"""Metrics of the release store, where the daemon sweeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.metrics.sample import Metrics, Samples, moment

__all__ = ["METRICS", "release_store"]

METRICS: Metrics = {
    "alignd_store_releases": ("Releases that the last sweep of the store left", ()),
    "alignd_store_bytes": ("Size of these releases", ()),
    "alignd_store_removed_releases_total": ("Releases that the daemon's sweeps removed", ()),
    "alignd_store_freed_bytes_total": ("Size of the releases that the daemon's sweeps removed", ()),
    "alignd_store_sweeps_failed_total": ("Sweeps that removed nothing, for a server or a release stood in the way", ()),
    "alignd_store_swept_timestamp_seconds": ("When the store was last swept", ()),
}  # fmt: skip


def release_store(status: Mapping[str, Any]) -> Iterator[Samples]:
    """Say what the sweeps of the release store came to; nothing where there are none."""
    store = status["store"]
    if store["sweep_hours"] is None:
        return
    swept = store["swept_at"]
    values = {
        "alignd_store_removed_releases_total": store["removed"],
        "alignd_store_freed_bytes_total": store["freed_bytes"],
        "alignd_store_sweeps_failed_total": store["failed"],
        "alignd_store_releases": store["releases"] if swept else None,
        "alignd_store_bytes": store["bytes"] if swept else None,
        "alignd_store_swept_timestamp_seconds": moment(swept) if swept else None,
    }
    yield Samples((), values)
