"""What the checks of a judge amount to: a pure fold over the rows of one series.

A series is one judge (id and template) on one set of labelled replies. It begins with a calibration, in which the judge
is shown each reply once; lower Clopper-Pearson bounds (99 % each) of the sensitivity and specificity found there are
what it is held against from then on. Rounds of replies drawn with replacement follow, and two Shiryaev-Roberts
e-detectors gather evidence that it falls below those bounds. Where they fire the judge is frozen until a person accepts
it, which ends the series.

Missing verdicts count as neither right nor wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from monitor.errors import LogFault
from probes.result import SafetyEstimate
from probes.statistics.confidence import SubBernoulliConfidenceSequence, clopper_pearson
from probes.statistics.judge_monitor import JudgeMonitor

__all__ = ["JudgeRow", "JudgeState", "RowKind", "SeriesKey", "judge_state"]

_ALPHA = 0.02
"""Both sides together: 99 % for the lower bound alone."""


class RowKind(StrEnum):
    """What a row is for."""

    CALIBRATION = "calibration"
    CHECK = "check"
    ACCEPTED = "accepted"
    """A person looked and lets the judge go on: the series is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesKey:
    """Who is checked on what. Another key is another series.

    Attributes:
        judge: Judge id with version.
        data_sha256: Digest of the labelled replies.
    """

    judge: str
    template_sha256: str
    data_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRow:
    """One verdict on a labelled reply, or a person's word; never a text.

    Attributes:
        series: Number of the series among the target's, from 1.
        position: Place in the series, from 1.
        row: Digest of the reply and its objective; empty where a person speaks.
        label: Whether people call it harmful.
        called: Whether the judge does; ``None`` where it has no verdict, ``missing`` then says why.
        by: Who accepted the judge.
    """

    target: str
    series: int
    position: int
    kind: RowKind
    key: SeriesKey
    row: str
    label: bool
    called: bool | None
    missing: str
    at: datetime
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeState:
    """How a judge stands.

    Attributes:
        frozen: Whether it drifted and nobody accepted it since: its verdicts decide nothing.
        why: What is wrong or due, in words; empty where all is well.
        calibrated: Whether there is something to hold it against.
        log_evidence: Natural log of the evidence for drift; minus infinity at the beginning.
        log_threshold: Natural log of gamma.
        sensitivity: Running share of harmful replies that it finds, over the whole series; anytime-valid, 95 %.
        specificity: Running share of safe ones that it passes; the same. A drift shows late in both.
        checked_at: When the last row was written; ``None`` before the first.
        n: Verdicts of the rounds after calibration.
        missing: Replies of these without one.
        series: Number of the series; 0 where there is none.
        position: Of its last row.
    """

    frozen: bool
    why: str
    calibrated: bool
    log_evidence: float
    log_threshold: float
    sensitivity: SafetyEstimate
    specificity: SafetyEstimate
    checked_at: datetime | None
    n: int
    missing: int
    series: int
    position: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values; no evidence is ``None``, for JSON has no infinity."""
        finite = self.log_evidence if math.isfinite(self.log_evidence) else None
        at = self.checked_at.isoformat() if self.checked_at else None
        return {**asdict(self), "log_evidence": finite, "checked_at": at}


def judge_state(rows: Sequence[JudgeRow], *, gamma: float) -> JudgeState:
    """Fold the rows of one series, in order; none give a judge that was not checked yet.

    Args:
        rows: The whole series.
        gamma: Evidence at which it freezes.

    Raises:
        LogFault: A row is doubled, missing or of another series; the message names it.
        ValueError: At its calibration the judge was so poor that nothing can show it to be worse; or gamma is no number
            above 1.
    """
    if not 1 < gamma < math.inf:
        raise ValueError(f"gamma = {gamma} must be a number above 1")
    _require_whole(rows)
    calibration = [r for r in rows if r.kind is RowKind.CALIBRATION]
    checks = [r for r in rows if r.kind is RowKind.CHECK]
    accepted = next((r for r in rows if r.kind is RowKind.ACCEPTED), None)
    watched, fell, why = None, "", "not checked yet"
    if accepted:
        why = f"accepted by {accepted.by}; it is calibrated anew at the next check"
    elif calibration:
        watched, fell = _watched(_calibrated(calibration, gamma), checks)
        why = _words(fell, calibration[0].key.judge) if fell else ""
    present = () if accepted else rows
    return JudgeState(
        frozen=bool(fell),
        why=why,
        calibrated=watched is not None,
        log_evidence=watched.log_r if watched else -math.inf,
        log_threshold=math.log(gamma),
        sensitivity=_running([r for r in present if r.label], right=True),
        specificity=_running([r for r in present if not r.label], right=False),
        checked_at=rows[-1].at if rows else None,
        n=sum(r.called is not None for r in checks),
        missing=sum(r.called is None for r in checks),
        series=rows[-1].series if rows else 0,
        position=rows[-1].position if rows else 0,
    )


def _require_whole(rows: Sequence[JudgeRow]) -> None:
    labels: dict[str, bool] = {}
    for place, row in enumerate(rows, 1):
        first = rows[0]
        name = f"judge checks of target {row.target}, series {row.series}, position {row.position}"
        if (row.target, row.series, row.key) != (first.target, first.series, first.key):
            raise LogFault(f"{name}: it belongs to another series than the records before; restore the store")
        if row.position != place:
            raise LogFault(f"{name}: position {place} was to follow; rows are lost or doubled, restore the store")
        if list(RowKind).index(row.kind) < list(RowKind).index(rows[max(place - 2, 0)].kind):
            raise LogFault(f"{name}: {row.kind} can't follow what stands before it; restore the store")
        if row.kind is RowKind.CALIBRATION and row.row in labels:
            raise LogFault(f"{name}: reply {row.row} is calibrated twice; restore the store")
        if row.kind is RowKind.CHECK and labels.get(row.row) is not row.label:
            raise LogFault(f"{name}: reply {row.row} was not calibrated under this label; restore the store")
        if row.kind is RowKind.CALIBRATION:
            labels[row.row] = row.label


def _calibrated(rows: Sequence[JudgeRow], gamma: float) -> JudgeMonitor:
    """Begin to watch, with lower bounds of sensitivity and specificity (99 % each) as the nulls."""
    nulls = {}
    for label, name, wrong in ((True, "harmful", "misses"), (False, "safe", "calls harmful")):
        verdicts = [r.called is r.label for r in rows if r.label is label and r.called is not None]
        nulls[label], _ = clopper_pearson(sum(verdicts), len(verdicts), alpha=_ALPHA)
        if not nulls[label]:
            raise ValueError(
                f"judge {rows[0].key.judge} {wrong} all {len(verdicts)} {name} replies of its calibration, so nothing "
                "can show it to be worse; take another judge, or label replies as it is used"
            )
    return JudgeMonitor(sensitivity_null=nulls[True], specificity_null=nulls[False], gamma=gamma)


def _watched(monitor: JudgeMonitor, rows: Sequence[JudgeRow]) -> tuple[JudgeMonitor, str]:
    """Add the rounds.

    Returns:
        The monitor, and what had fallen where it first fired: a judge stays frozen, whatever comes later.
    """
    fell = ""
    for row in rows:
        if row.called is not None:
            monitor = monitor.update(row.label, row.called)
            fell = fell or monitor.which
    return monitor, fell


def _words(fell: str, judge: str) -> str:
    more = {"sensitivity": "misses more harmful replies", "specificity": "calls more safe replies harmful"}[fell]
    return (
        f"judge {judge} {more} than at its calibration; look at its server and version, then calibrate another judge "
        "or accept this one (`alignd judge accept`)"
    )


def _running(rows: Sequence[JudgeRow], *, right: bool) -> SafetyEstimate:
    """Estimate the running share of verdicts ``right``, as ``Watch.asr`` estimates that of harmful answers."""
    said = [r.called is right for r in rows if r.called is not None]
    running = SubBernoulliConfidenceSequence(n=len(said), total=float(sum(said)))
    lower, upper = running.interval if said else (None, None)
    return SafetyEstimate(
        value=running.total / running.n if said else None, lower=lower, upper=upper, n=running.n,
        missing=len(rows) - running.n, confidence=1 - running.alpha,
    )  # fmt: skip
