"""Metrics of the daemon's own clock: what ran, what came late, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.metrics.sample import Metrics, Samples, moment

__all__ = ["METRICS", "schedule"]

_WORK = ("work",)
"""Not ``job``: Prometheus names what it scrapes by that, and would rename ours."""

METRICS: Metrics = {
    "alignd_schedule_runs_total": ("Runs of the daemon's jobs", _WORK),
    "alignd_schedule_missed_total": ("Runs whose time passed while the process was stopped, asleep or held up", _WORK),
    "alignd_schedule_overruns_total": ("Runs left out, for the one before had not ended", _WORK),
    "alignd_schedule_failures_total": ("Runs that ended in a fault of the daemon's own, see its log", _WORK),
    "alignd_schedule_lag_seconds": ("By how much the latest run of the last five to ten minutes began late", _WORK),
    "alignd_schedule_last_run_timestamp_seconds": ("When the job's newest run began", _WORK),
    "alignd_clock_jumps_total": ("Times that the machine's clock was set, back or forward", ()),
}  # fmt: skip


def schedule(status: Mapping[str, Any]) -> Iterator[Samples]:
    """Say how the daemon keeps its schedule."""
    kept = status["schedule"]
    yield Samples((), {"alignd_clock_jumps_total": kept["clock_jumps"]})
    for kind, job in kept["jobs"].items():
        values = {
            "alignd_schedule_runs_total": job["runs"],
            "alignd_schedule_missed_total": job["missed"],
            "alignd_schedule_overruns_total": job["overruns"],
            "alignd_schedule_failures_total": job["failures"],
            "alignd_schedule_lag_seconds": job["lag_seconds"],
            "alignd_schedule_last_run_timestamp_seconds": moment(job["ran_at"]) if job["ran_at"] else None,
        }
        yield Samples((kind,), values)
