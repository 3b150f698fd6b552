"""Metrics of what is held against labelled replies and first tokens: the judge, and the tripwire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.metrics.sample import Metrics, Samples, log_of, moment

__all__ = ["METRICS", "judge", "tripwire"]

_JUDGE = ("target", "judge")
_TARGET = ("target",)

METRICS: Metrics = {
    "alignd_judge_frozen": ("1 while the judge's verdicts decide nothing, for it drifted", _JUDGE),
    "alignd_judge_log_evidence": ("Natural log of the evidence that the judge drifted", _JUDGE),
    "alignd_judge_log_evidence_threshold": ("Where that freezes remediation", _JUDGE),
    "alignd_judge_sensitivity_ratio": ("Share of labelled harmful replies that the judge finds", (*_JUDGE, "bound")),
    "alignd_judge_specificity_ratio": ("Share of labelled safe replies that the judge passes", (*_JUDGE, "bound")),
    "alignd_judge_labelled_replies": ("Verdicts on labelled replies, calibration and checks", (*_JUDGE, "label")),
    "alignd_judge_unjudged_replies": ("Labelled replies without a verdict", (*_JUDGE, "label")),
    "alignd_judge_checked_replies": ("Verdicts on labelled replies since the judge was calibrated", _JUDGE),
    "alignd_judge_missing_replies": ("Labelled replies without a verdict since then", _JUDGE),
    "alignd_judge_checked_timestamp_seconds": ("When the judge was last checked", _JUDGE),
    "alignd_judge_check_interval_seconds": ("Seconds between checks of the judge", _JUDGE),
    "alignd_tripwire_tripped": ("1 while first tokens' log-probabilities have moved", _TARGET),
    "alignd_tripwire_log_evidence": ("Natural log of the evidence that they moved", _TARGET),
    "alignd_tripwire_looks": ("Looks of this epoch", _TARGET),
    "alignd_tripwire_missing_looks": ("Looks of this epoch without a reading", _TARGET),
}  # fmt: skip


def judge(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say how the judge stands, where it is checked."""
    state, labels = target["judge_check"], (target["name"], target["judge"])
    if state is None:
        return
    values = {
        "alignd_judge_frozen": bool(target["frozen"]),
        "alignd_judge_log_evidence": log_of(state["log_evidence"]),
        "alignd_judge_log_evidence_threshold": state["log_threshold"],
        "alignd_judge_check_interval_seconds": target["judge_check_seconds"],
        "alignd_judge_checked_replies": state["n"],
        "alignd_judge_missing_replies": state["missing"],
        "alignd_judge_checked_timestamp_seconds": moment(state["checked_at"]) if state["checked_at"] else None,
    }
    yield Samples(labels, values)
    for part, label in (("sensitivity", "harmful"), ("specificity", "safe")):
        found = state[part]
        for bound in ("value", "lower", "upper"):
            yield Samples((*labels, bound), {f"alignd_judge_{part}_ratio": found[bound]})
        counted = {"alignd_judge_labelled_replies": found["n"], "alignd_judge_unjudged_replies": found["missing"]}
        yield Samples((*labels, label), counted)


def tripwire(target: Mapping[str, Any]) -> Iterator[Samples]:
    """Say how the tripwire stands, where there is one."""
    state = target["tripwire"]
    if state is None:
        return
    values = {
        "alignd_tripwire_tripped": state["tripped"],
        "alignd_tripwire_log_evidence": log_of(state["log_evidence"]),
        "alignd_tripwire_looks": state["n"],
        "alignd_tripwire_missing_looks": state["missing"],
    }
    yield Samples((target["name"],), values)
