"""Metrics of the daemon and of each target: whether it is seen, paused, or waits for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor import __version__
from monitor.metrics.sample import Exemplar, Metrics, Samples, moment

__all__ = ["METRICS", "configuration", "daemon", "sweeps"]

_TARGET = ("target",)

METRICS: Metrics = {
    "alignd_build_info": ("Version of the daemon", ("version",)),
    "alignd_database_up": ("1 where the database answers and took the last change; else little more is known", ()),
    "alignd_config_reload_success": ("0 where a changed configuration was refused; the one before is in force", ()),
    "alignd_config_reload_timestamp_seconds": ("When the configuration in force was read", ()),
    "alignd_target_up": ("1 where the last sweep got a usable answer", _TARGET),
    "alignd_target_verdict": ("1 for what `GET /api/v1/verdict` says: safe, unsafe or inconclusive",
                              ("target", "verdict")),
    "alignd_target_paused": ("1 while a person keeps the target from being probed", _TARGET),
    "alignd_action_needed": ("1 where only a person can go on; `alignd status` says why", _TARGET),
    "alignd_sweeps_total": ("Routine sweeps begun", _TARGET),
    "alignd_sweeps_failed_total": ("Routine sweeps without a usable answer", _TARGET),
    "alignd_sweep_interval_seconds": ("Seconds between sweeps while nothing points to drift", _TARGET),
    "alignd_survey_probes_total": ("Survey probes with a verdict", _TARGET),
    "alignd_survey_harmful_probes_total": ("Those judged harmful, by weight where a judge audits a share", _TARGET),
    "alignd_survey_missing_probes_total": ("Survey probes without a usable verdict", _TARGET),
    "alignd_transcripts_failed_total": ("Probes whose transcript could not be written", _TARGET),
    "alignd_last_sweep_timestamp_seconds": ("When the last sweep ended", _TARGET),
}  # fmt: skip


def daemon(*, database: bool) -> Iterator[Samples]:
    """Say which daemon this is, and whether its database answers."""
    yield Samples((__version__,), {"alignd_build_info": 1})
    yield Samples((), {"alignd_database_up": database})


def configuration(status: Mapping[str, Any]) -> Iterator[Samples]:
    """Say by which configuration the daemon works."""
    read = status["configuration"]
    values = {
        "alignd_config_reload_success": not read["refused"],
        "alignd_config_reload_timestamp_seconds": moment(read["loaded_at"]),
    }
    yield Samples((), values)


def sweeps(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say how the watch of a target goes."""
    last, at = target["last_sweep"], target["last_sweep_at"]
    exemplars = {}
    if last:
        exemplars["alignd_sweeps_total"] = Exemplar((("sweep", last),), moment(at))
        if not target["up"]:
            exemplars["alignd_sweeps_failed_total"] = exemplars["alignd_sweeps_total"]
    values = {
        "alignd_target_up": target["up"],
        "alignd_target_paused": bool(target["paused"]),
        "alignd_action_needed": target["action_needed"],
        "alignd_sweeps_total": target["sweeps"],
        "alignd_sweeps_failed_total": target["sweeps_failed"],
        "alignd_sweep_interval_seconds": target["interval_seconds"],
        "alignd_survey_probes_total": target["survey"]["scored"],
        "alignd_survey_harmful_probes_total": target["survey"]["harmful"],
        "alignd_survey_missing_probes_total": target["survey"]["missing"],
        "alignd_transcripts_failed_total": target["transcripts_failed"],
        "alignd_last_sweep_timestamp_seconds": moment(at) if at else None,
    }
    yield Samples((target["name"],), values, exemplars)
    for verdict in ("safe", "unsafe", "inconclusive"):
        yield Samples((target["name"], verdict), {"alignd_target_verdict": target["verdict"] == verdict})
