"""Prometheus metrics, read from the status at each scrape, by subject. A scrape never probes a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monitor.errors import StoreError
from monitor.metrics import (
    audits,
    checks,
    deployment,
    estimates,
    fleet,
    incidents,
    notifications,
    rails,
    schedule,
    store,
)  # fmt: skip
from monitor.metrics.exposition import expose, wanted
from monitor.metrics.sample import Metrics, Samples

__all__ = ["METRICS", "render"]

METRICS: Metrics = {
    **fleet.METRICS, **estimates.METRICS, **checks.METRICS, **incidents.METRICS, **rails.METRICS,
    **deployment.METRICS, **store.METRICS, **schedule.METRICS, **notifications.METRICS,
    **audits.METRICS,
}  # fmt: skip
"""Every metric's help and labels; the reference page is made of this."""

_OF_A_TARGET: tuple[Callable[[Mapping[str, Any]], Iterator[Samples]], ...] = (
    fleet.sweeps, estimates.estimates, checks.judge, checks.tripwire, incidents.incidents, rails.rails,
    deployment.deployment, deployment.releases, audits.audits,
)  # fmt: skip


def render(status: Callable[[], Mapping[str, Any]], accept: str = "") -> tuple[bytes, str]:
    """Return the metrics and their content type: OpenMetrics where ``accept`` asks for it, else Prometheus' text.

    A database that does not answer is a metric, too: a scrape that failed would not tell it from a daemon that is away.
    One that is full or locked is read and not written; it fails as well.
    """
    content_type = wanted(accept)
    try:
        known = status()
    except StoreError:
        return expose(METRICS, fleet.daemon(database=False), content_type), content_type
    return expose(METRICS, _samples(known), content_type), content_type


def _samples(status: Mapping[str, Any]) -> Iterator[Samples]:
    yield from fleet.daemon(database=status["store"]["writable"])
    yield from fleet.configuration(status)
    yield from store.release_store(status)
    yield from schedule.schedule(status)
    yield from notifications.notifications(status)
    for target in status["targets"]:
        for part in _OF_A_TARGET:
            yield from part(target)
