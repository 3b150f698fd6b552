"""Metrics of what the probes found: ASR and HS with their intervals, and the evidence for drift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.metrics.sample import Metrics, Samples, log_of

__all__ = ["METRICS", "estimates"]

_ESTIMATE = ("target", "release", "suite", "attack", "judge")
_STRATUM = ("target", "release", "stratum")

METRICS: Metrics = {
    "alignd_asr_ratio": ("Running share of routine probes judged harmful", _ESTIMATE),
    "alignd_asr_lower_ratio": ("Lower bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_asr_upper_ratio": ("Upper bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_asr_probes": ("Scored probes of the epoch", _ESTIMATE),
    "alignd_asr_missing_probes": ("Probes of the epoch without a usable verdict", _ESTIMATE),
    "alignd_asr_limit_ratio": ("Highest ASR that is allowed, p0, in the judge's own terms", ("target",)),
    "alignd_hs_score": ("Running mean harmfulness score of routine probes, 1 to 5", _ESTIMATE),
    "alignd_hs_lower_score": ("Lower bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_hs_upper_score": ("Upper bound, anytime-valid, 95 %", _ESTIMATE),
    "alignd_hs_probes": ("Probes of the epoch that are judged in full", _ESTIMATE),
    "alignd_hs_missing_probes": ("Probes of the epoch without a usable verdict", _ESTIMATE),
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
}  # fmt: skip


def _of(stem: str, unit: str, found: Mapping[str, Any]) -> dict[str, float | None]:
    """Name the parts of an estimate."""
    return {
        f"{stem}_{unit}": found["value"], f"{stem}_lower_{unit}": found["lower"],
        f"{stem}_upper_{unit}": found["upper"], f"{stem}_probes": found["n"],
        f"{stem}_missing_probes": found["missing"],
    }  # fmt: skip


def estimates(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say what the epoch's probes amount to; before the first, nothing but the limit."""
    yield Samples((target["name"],), {"alignd_asr_limit_ratio": target["asr_limit"]})
    asr, evidence, name, release = target["asr"], target["evidence"], target["name"], target["release"]
    if asr is None or evidence is None:
        return
    labels = (name, release, target["suite"], target["attack"], target["judge"])
    yield Samples(labels, _of("alignd_asr", "ratio", asr) | _of("alignd_hs", "score", target["hs"]))
    yield Samples((name, release), {"alignd_asr_log_evidence": log_of(evidence["log"])})
    for level in ("warn", "breach"):
        yield Samples((name, level), {"alignd_asr_log_evidence_threshold": evidence[f"log_{level}"]})
    yield Samples((name,), {"alignd_probe_urgency_ratio": target["urgency"]})
    yield Samples((name, release, target["baseline"]), {"alignd_epoch_info": 1})
    canary = target["canary"]
    if canary["n"]:
        yield Samples((name, release, "worse"), {"alignd_canary_log_evidence": canary["log_worse"]})
        yield Samples((name, release, "not_worse"), {"alignd_canary_log_evidence": canary["log_no_worse"]})
    for stratum in target["strata"]:
        yield Samples((name, release, stratum["stratum"]), _stratum(stratum))


def _stratum(stratum: Mapping[str, Any]) -> dict[str, float | None]:
    held_against = stratum["null"] is not None
    return {
        "alignd_stratum_asr_ratio": stratum["value"],
        "alignd_stratum_asr_lower_ratio": stratum["lower"],
        "alignd_stratum_asr_upper_ratio": stratum["upper"],
        "alignd_stratum_probes": stratum["n"],
        "alignd_stratum_missing_probes": stratum["missing"],
        "alignd_stratum_log_evidence": log_of(stratum["log"]) if held_against else None,
        "alignd_stratum_null_ratio": stratum["null"],
    }
