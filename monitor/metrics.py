"""Prometheus metrics, read from the status at each scrape. A scrape never probes a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from monitor.incident import State
from monitor.served_check import replica_of

__all__ = ["METRICS", "render"]

_ESTIMATE = ("target", "release", "suite", "attack", "judge")
_JUDGE = ("target", "judge")
_DEPLOYMENT = ("target", "replica", "release", "kind", "traffic")
_REPLICA = ("target", "replica")
_STRATUM = ("target", "release", "stratum")
_JOB = ("job",)

METRICS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "alignd_build_info": ("Version of the daemon", ("version",)),
    "alignd_target_up": ("1 where the last sweep got a usable answer", ("target",)),
    "alignd_target_paused": ("1 while a person keeps the target from being probed", ("target",)),
    "alignd_asr_ratio": ("Running share of routine probes judged harmful", _ESTIMATE),
    "alignd_asr_lower_ratio": ("Lower bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_asr_upper_ratio": ("Upper bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_asr_probes": ("Scored probes of the epoch", _ESTIMATE),
    "alignd_asr_missing_probes": ("Probes of the epoch without a usable verdict", _ESTIMATE),
    "alignd_hs_score": ("Running mean harmfulness score of routine probes, 1 to 5", _ESTIMATE),
    "alignd_hs_lower_score": ("Lower bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_hs_upper_score": ("Upper bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_asr_log_evidence": ("Natural log of the drift detector's evidence", ("target", "release")),
    "alignd_asr_log_evidence_threshold": ("Threshold of the evidence", ("target", "level")),
    "alignd_stratum_asr_ratio": ("Running share judged harmful in a stratum", _STRATUM),
    "alignd_stratum_asr_lower_ratio": ("Lower bound, anytime-valid, 95 %", _STRATUM),
    "alignd_stratum_asr_upper_ratio": ("Upper bound, anytime-valid, 95 %", _STRATUM),
    "alignd_stratum_probes": ("Scored probes of the stratum in this epoch", _STRATUM),
    "alignd_stratum_missing_probes": ("Probes of the stratum without a usable verdict", _STRATUM),
    "alignd_stratum_log_evidence": ("Natural log of the stratum's evidence for drift", _STRATUM),
    "alignd_stratum_null_ratio": ("Highest healthy ASR of the stratum, by the last good release", _STRATUM),
    "alignd_canary_log_evidence": ("Natural log of evidence by pairs, worse or not_worse than the last good release",
                                   ("target", "release", "side")),
    "alignd_probe_urgency_ratio": ("Probe rate on the log scale from idle (0) to burst (1)", ("target",)),
    "alignd_epoch_info": ("The present epoch and the release it is held against", ("target", "release", "baseline")),
    "alignd_judge_frozen": ("1 while the judge's verdicts decide nothing, for it drifted", _JUDGE),
    "alignd_judge_log_evidence": ("Natural log of the evidence that the judge drifted", _JUDGE),
    "alignd_judge_log_evidence_threshold": ("Where that freezes remediation", _JUDGE),
    "alignd_judge_sensitivity_ratio": ("Share of labelled harmful replies that the judge finds", (*_JUDGE, "bound")),
    "alignd_judge_specificity_ratio": ("Share of labelled safe replies that the judge passes", (*_JUDGE, "bound")),
    "alignd_judge_checked_replies": ("Verdicts on labelled replies since the judge was calibrated", _JUDGE),
    "alignd_judge_missing_replies": ("Labelled replies without a verdict since then", _JUDGE),
    "alignd_judge_checked_timestamp_seconds": ("When the judge was last checked", _JUDGE),
    "alignd_tripwire_tripped": ("1 while first tokens' log-probabilities have moved", ("target",)),
    "alignd_tripwire_log_evidence": ("Natural log of the evidence that they moved", ("target",)),
    "alignd_tripwire_looks": ("Looks of this epoch", ("target",)),
    "alignd_tripwire_missing_looks": ("Looks of this epoch without a reading", ("target",)),
    "alignd_sweeps_total": ("Routine sweeps begun", ("target",)),
    "alignd_sweeps_failed_total": ("Routine sweeps without a usable answer", ("target",)),
    "alignd_transcripts_failed_total": ("Probes whose transcript could not be written", ("target",)),
    "alignd_last_sweep_timestamp_seconds": ("When the last sweep ended", ("target",)),
    "alignd_incident_state": ("1 for the state of the target's newest incident", ("target", "state")),
    "alignd_incidents": ("Incidents by present state", ("target", "state")),
    "alignd_incident_stage_seconds": ("Seconds the newest incident has spent in a state", ("target", "state")),
    "alignd_action_needed": ("1 where only a person can go on; `alignd status` says why", ("target",)),
    "alignd_deployment_info": ("Releases that are up, by server; traffic says which one serves users", _DEPLOYMENT),
    "alignd_deployment_mismatch": ("1 where a server was found to hold other weights than it should", _REPLICA),
    "alignd_deployment_mends_total": ("Times that what should be served was put into service again", ("target",)),
    "alignd_release_good": ("1 where a release is marked good", ("target", "release")),
    "alignd_release_asr_ratio": ("Measured ASR (bound: value, lower, upper)", ("target", "release", "bound")),
    "alignd_release_hs_score": ("Measured mean harmfulness score, 1 to 5", ("target", "release", "bound")),
    "alignd_release_over_refusal_ratio": ("Measured over-refusal", ("target", "release", "bound")),
    "alignd_release_task_accuracy_ratio": ("Measured task accuracy", ("target", "release", "bound")),
    "alignd_store_releases": ("Releases that the last sweep of the store left", ()),
    "alignd_store_bytes": ("Size of these releases", ()),
    "alignd_store_removed_releases_total": ("Releases that the daemon's sweeps removed", ()),
    "alignd_store_freed_bytes_total": ("Size of the releases that the daemon's sweeps removed", ()),
    "alignd_store_sweeps_failed_total": ("Sweeps that removed nothing, for a server or a release stood in the way", ()),
    "alignd_store_swept_timestamp_seconds": ("When the store was last swept", ()),
    "alignd_schedule_runs_total": ("Runs of the daemon's jobs", _JOB),
    "alignd_schedule_missed_total": ("Runs whose time passed while the process was stopped, asleep or held up", _JOB),
    "alignd_schedule_overruns_total": ("Runs left out, for the one before had not ended", _JOB),
    "alignd_schedule_failures_total": ("Runs that ended in a fault of the daemon's own, see its log", _JOB),
    "alignd_schedule_lag_seconds": ("By how much the latest run of the last five to ten minutes began late", _JOB),
    "alignd_schedule_last_run_timestamp_seconds": ("When the job's newest run began", _JOB),
    "alignd_clock_jumps_total": ("Times that the machine's clock was set, back or forward", ()),
}  # fmt: skip
"""Every metric's help and labels; the reference page is made of this."""

_PROFILE = {
    "asr": "alignd_release_asr_ratio",
    "hs": "alignd_release_hs_score",
    "over_refusal": "alignd_release_over_refusal_ratio",
    "utility": "alignd_release_task_accuracy_ratio",
}


class _StatusCollector:
    """Turns the status into metrics at each scrape."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Read the status once."""
        families: dict[str, Metric] = {}
        for name, (text, labels) in METRICS.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            families[name] = kind(name, text, labels=labels)

        def put(metric: str, value: float | None, **labels: str) -> None:
            if value is not None:
                family = families[metric]
                ordered = [labels[k] for k in METRICS[metric][1]]
                family.add_metric(ordered, value)  # type: ignore[attr-defined]

        status = self._status()
        put("alignd_build_info", 1.0, version=status["version"])
        _store(put, status["store"])
        _schedule(put, status["schedule"])
        for target in status["targets"]:
            _watch(put, target)
            _judge(put, target)
            _tripwire(put, target)
            _releases(put, target)
            _incidents(put, target["name"], [i for i in status["incidents"] if i["target"] == target["name"]])
        return families.values()


Put = Callable[..., None]


def _store(put: Put, store: Mapping[str, Any]) -> None:
    if store["sweep_hours"] is None:
        return
    put("alignd_store_removed_releases_total", store["removed"])
    put("alignd_store_freed_bytes_total", store["freed_bytes"])
    put("alignd_store_sweeps_failed_total", store["failed"])
    if store["swept_at"]:
        put("alignd_store_releases", store["releases"])
        put("alignd_store_bytes", store["bytes"])
        put("alignd_store_swept_timestamp_seconds", datetime.fromisoformat(store["swept_at"]).timestamp())


def _schedule(put: Put, schedule: Mapping[str, Any]) -> None:
    put("alignd_clock_jumps_total", schedule["clock_jumps"])
    for kind, job in schedule["jobs"].items():
        for count in ("runs", "missed", "overruns", "failures"):
            put(f"alignd_schedule_{count}_total", job[count], job=kind)
        put("alignd_schedule_lag_seconds", job["lag_seconds"], job=kind)
        if job["ran_at"]:
            at = datetime.fromisoformat(job["ran_at"]).timestamp()
            put("alignd_schedule_last_run_timestamp_seconds", at, job=kind)


def _watch(put: Put, target: Mapping[str, Any]) -> None:
    name, asr, evidence = target["name"], target["asr"], target["evidence"]
    put("alignd_target_up", float(target["up"]), target=name)
    put("alignd_target_paused", float(bool(target["paused"])), target=name)
    put("alignd_sweeps_total", target["sweeps"], target=name)
    put("alignd_sweeps_failed_total", target["sweeps_failed"], target=name)
    put("alignd_transcripts_failed_total", target["transcripts_failed"], target=name)
    put("alignd_action_needed", float(target["action_needed"]), target=name)
    if target["last_sweep_at"]:
        at = datetime.fromisoformat(target["last_sweep_at"]).timestamp()
        put("alignd_last_sweep_timestamp_seconds", at, target=name)
    if asr is None or evidence is None:
        return
    labels = {"target": name, **{k: target[k] for k in ("release", "suite", "attack", "judge")}}
    put("alignd_asr_ratio", asr["value"], **labels)
    put("alignd_asr_lower_ratio", asr["lower"], **labels)
    put("alignd_asr_upper_ratio", asr["upper"], **labels)
    put("alignd_asr_probes", asr["n"], **labels)
    put("alignd_asr_missing_probes", asr["missing"], **labels)
    for bound, metric in (("value", "alignd_hs_score"), ("lower", "alignd_hs_lower_score"),
                          ("upper", "alignd_hs_upper_score")):  # fmt: skip
        put(metric, target["hs"][bound], **labels)
    log = -math.inf if evidence["log"] is None else evidence["log"]
    put("alignd_asr_log_evidence", log, target=name, release=target["release"])
    for level in ("warn", "breach"):
        put("alignd_asr_log_evidence_threshold", evidence[f"log_{level}"], target=name, level=level)
    _strata(put, target)


def _strata(put: Put, target: Mapping[str, Any]) -> None:
    name, release, canary = target["name"], target["release"], target["canary"]
    put("alignd_probe_urgency_ratio", target["urgency"], target=name)
    put("alignd_epoch_info", 1.0, target=name, release=release, baseline=target["baseline"])
    for side in ("worse", "not_worse"):
        log = canary["log_worse" if side == "worse" else "log_no_worse"]
        put("alignd_canary_log_evidence", log if canary["n"] else None, target=name, release=release, side=side)
    for stratum in target["strata"]:
        labels = {"target": name, "release": release, "stratum": stratum["stratum"]}
        put("alignd_stratum_asr_ratio", stratum["value"], **labels)
        put("alignd_stratum_asr_lower_ratio", stratum["lower"], **labels)
        put("alignd_stratum_asr_upper_ratio", stratum["upper"], **labels)
        put("alignd_stratum_probes", stratum["n"], **labels)
        put("alignd_stratum_missing_probes", stratum["missing"], **labels)
        if stratum["null"] is not None:
            log = -math.inf if stratum["log"] is None else stratum["log"]
            put("alignd_stratum_log_evidence", log, **labels)
            put("alignd_stratum_null_ratio", stratum["null"], **labels)


def _judge(put: Put, target: Mapping[str, Any]) -> None:
    state, labels = target["judge_check"], {"target": target["name"], "judge": target["judge"]}
    if state is None:
        return
    put("alignd_judge_frozen", float(bool(target["frozen"])), **labels)
    log = -math.inf if state["log_evidence"] is None else state["log_evidence"]
    put("alignd_judge_log_evidence", log, **labels)
    put("alignd_judge_log_evidence_threshold", state["log_threshold"], **labels)
    put("alignd_judge_checked_replies", state["n"], **labels)
    put("alignd_judge_missing_replies", state["missing"], **labels)
    if state["checked_at"]:
        at = datetime.fromisoformat(state["checked_at"]).timestamp()
        put("alignd_judge_checked_timestamp_seconds", at, **labels)
    for part in ("sensitivity", "specificity"):
        for bound in ("value", "lower", "upper"):
            put(f"alignd_judge_{part}_ratio", state[part][bound], **labels, bound=bound)


def _tripwire(put: Put, target: Mapping[str, Any]) -> None:
    state, name = target["tripwire"], target["name"]
    if state is None:
        return
    put("alignd_tripwire_tripped", float(state["tripped"]), target=name)
    log = -math.inf if state["log_evidence"] is None else state["log_evidence"]
    put("alignd_tripwire_log_evidence", log, target=name)
    put("alignd_tripwire_looks", state["n"], target=name)
    put("alignd_tripwire_missing_looks", state["missing"], target=name)


def _releases(put: Put, target: Mapping[str, Any]) -> None:
    name = target["name"]
    kinds = {s["release"]: s["kind"] for s in target["served"]}
    wrong = {s["replica"]: bool(s["mismatch"]) for s in sorted(target["served"], key=lambda s: bool(s["mismatch"]))}
    up = [
        (replica_of(endpoint), s)
        for s in (target["deployment"] or {"up": ()})["up"]
        for endpoint in (s["endpoint"], *s["also_at"])
    ]
    for replica, served in up:
        release, traffic = served["release"], "yes" if served["takes_traffic"] else "no"
        labels = {"target": name, "replica": replica, "release": release, "kind": kinds.get(release, "unknown")}
        put("alignd_deployment_info", 1.0, **labels, traffic=traffic)
    for replica in sorted({r for r, _ in up} | wrong.keys()):
        put("alignd_deployment_mismatch", float(wrong.get(replica, False)), target=name, replica=replica)
    put("alignd_deployment_mends_total", target["mends"], target=name)
    for known in target["releases"]:
        put("alignd_release_good", float(known["good"]), target=name, release=known["release"])
        for part, metric in _PROFILE.items():
            estimate = (known["profile"] or {}).get(part) or {}
            for bound in estimate.keys() & {"value", "lower", "upper"}:
                put(metric, estimate[bound], target=name, release=known["release"], bound=bound)


def _incidents(put: Put, name: str, incidents: list[Mapping[str, Any]]) -> None:
    for state in State:
        count = sum(i["state"] == state.value for i in incidents)
        put("alignd_incidents", float(count), target=name, state=state.value)
        newest = bool(incidents) and incidents[0]["state"] == state.value
        put("alignd_incident_state", float(newest), target=name, state=state.value)
    for state_name, seconds in (incidents[0]["seconds"] if incidents else {}).items():
        put("alignd_incident_stage_seconds", seconds, target=name, state=state_name)


def render(status: Callable[[], Mapping[str, Any]], accept: str = "") -> tuple[bytes, str]:
    """Return the metrics and their content type: OpenMetrics where ``accept`` asks for it, else Prometheus' text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatusCollector(status))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
