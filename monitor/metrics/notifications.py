"""Metrics of the channels that people are told by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.metrics.sample import Metrics, Samples

__all__ = ["METRICS", "notifications"]

_CHANNEL = ("channel",)

METRICS: Metrics = {
    "alignd_notifications_total": ("Tries to tell people, by outcome: sent, failed, digested, dead",
                                   (*_CHANNEL, "outcome")),
    "alignd_notifications_pending": ("Letters that are still to be sent", _CHANNEL),
    "alignd_notifications_dead": ("Letters that are kept and will not be sent any more", _CHANNEL),
    "alignd_notifications_oldest_pending_seconds": ("Age of the oldest letter that is still to be sent", _CHANNEL),
}  # fmt: skip


def notifications(status: Mapping[str, Any]) -> Iterator[Samples]:
    """Say how each channel stands."""
    for channel in status["notifications"]:
        name = channel["channel"]
        values = {
            "alignd_notifications_pending": channel["pending"],
            "alignd_notifications_dead": channel["dead"],
            "alignd_notifications_oldest_pending_seconds": channel["oldest_seconds"],
        }
        yield Samples((name,), values)
        for outcome, count in channel["outcomes"].items():
            yield Samples((name, outcome), {"alignd_notifications_total": count})
