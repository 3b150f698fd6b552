"""What the plugin shows on vLLM's own ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from alignd_vllm.errors import Reason
from alignd_vllm.routes import Refusals
from alignd_vllm.steering import Steering

__all__ = ["export"]


def export(steering: Steering, refusals: Refusals, registry: CollectorRegistry = REGISTRY) -> None:
    """Show the active release and the refusals on each scrape."""
    registry.register(_Shown(steering, refusals))


class _Shown(Collector):
    def __init__(self, steering: Steering, refusals: Refusals) -> None:
        self._steering, self._refusals = steering, refusals

    def collect(self) -> Iterator[Metric]:
        active = GaugeMetricFamily(
            "alignd_vllm_active_info", "Release that the public name means; no sample while it is halted.",
            labels=["release"],
        )  # fmt: skip
        if self._steering.active:
            active.add_metric([self._steering.active], 1.0)
        refused = CounterMetricFamily(
            "alignd_vllm_refusals", "Calls of the plugin's routes that were refused.", labels=["reason"]
        )
        for reason in Reason:
            refused.add_metric([reason.value], float(self._refusals[reason.value]))
        yield from (active, refused)

    def describe(self) -> Iterator[Metric]:
        return iter(())
