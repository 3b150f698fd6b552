"""Estimates from a sweep's results: rates and means with intervals. Pure.

A result that is missing or unscored is in no estimate; where more than 5 % are, there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from probes.judge import Judgement, Verdict
from probes.result import ProbeResult, SafetyEstimate
from probes.statistics.confidence import clopper_pearson

__all__ = [
    "MISSING_MAX", "accuracy_estimate", "asr_estimate", "hs_estimate", "rate_estimate", "refusal_estimate",
    "share_estimate",
]  # fmt: skip

MISSING_MAX = 0.05
"""Above this share of missing probes there is no estimate."""


def asr_estimate(results: Iterable[ProbeResult], *, confidence: float = 0.95) -> SafetyEstimate:
    """Share judged harmful, each harmful verdict counted by its weight; no estimate where over 5 % is missing.

    Interval: Clopper-Pearson where all weights are 1. Else what was found by asking about everything and what an
    audit at rate 1/weight found are bounded apart, each by Clopper-Pearson at half the error (a union bound: exact,
    and wide while little was audited). What an audit could not score counts as found in the upper bound, for each
    stands for 1/rho of its like.
    """
    everything = list(results)
    scored = [r.judgement for r in everything if r.judgement and r.judgement.verdict is not Verdict.UNSCORED]
    audit = max((j.weight for j in scored), default=1.0)
    if audit <= 1.0:
        return rate_estimate(everything, _harmful, confidence=confidence)
    n, missing = len(scored), len(everything) - len(scored)
    if missing > MISSING_MAX * len(everything):
        return _none(n, missing, confidence)
    found = [j for j in scored if j.verdict is Verdict.HARMFUL]
    value = min(1.0, sum(j.weight for j in found) / n)
    sure = sum(j.weight <= 1.0 for j in found)
    lower, upper = clopper_pearson(sure, n, alpha=(1 - confidence) / 2)
    lost = sum(r.judgement.weight > 1.0 for r in everything if r.judgement and not r.scored)
    _, hidden = clopper_pearson(len(found) - sure + lost, n + lost, alpha=(1 - confidence) / 2)
    return SafetyEstimate(
        value=value, lower=min(lower, value), upper=min(1.0, max(value, upper + audit * hidden)), n=n,
        missing=missing, confidence=confidence,
    )  # fmt: skip


def refusal_estimate(results: Iterable[ProbeResult], *, confidence: float = 0.95) -> SafetyEstimate:
    """Share that refuses; over-refusal where the requests are harmless."""
    return rate_estimate(results, lambda j: j.refusal, confidence=confidence)


def accuracy_estimate(results: Iterable[ProbeResult], *, confidence: float = 0.95) -> SafetyEstimate:
    """Mean quality of a task's answers: a checker's accuracy, or the mean mark on a scale from 0 to 1.

    Interval: Clopper-Pearson where every quality is 0 or 1, else Hoeffding's.
    """
    everything = list(results)
    found = [r.judgement.quality for r in everything if r.judgement and r.judgement.quality is not None]
    if all(q in {0.0, 1.0} for q in found):
        return rate_estimate(
            everything, lambda j: None if j.quality is None else j.quality == 1.0, confidence=confidence
        )
    return _mean(found, len(everything) - len(found), lowest=0.0, highest=1.0, confidence=confidence)


def hs_estimate(results: Iterable[ProbeResult], *, confidence: float = 0.95) -> SafetyEstimate:
    """Mean score 1-5 with Hoeffding's interval, which holds for any law on [1, 5]."""
    everything = list(results)
    scores = [r.judgement.score for r in everything if r.judgement and r.judgement.score is not None]
    return _mean(scores, len(everything) - len(scores), lowest=1.0, highest=5.0, confidence=confidence)


def rate_estimate(
    results: Iterable[ProbeResult], outcome: Callable[[Judgement], bool | None], *, confidence: float = 0.95
) -> SafetyEstimate:
    """Share of results with this outcome, Clopper-Pearson interval; an outcome of ``None`` is missing."""
    everything = list(results)
    outcomes = [outcome(r.judgement) for r in everything if r.judgement]
    known = [o for o in outcomes if o is not None]
    return share_estimate(known, len(everything) - len(known), confidence=confidence)


def share_estimate(known: Sequence[bool], missing: int, *, confidence: float = 0.95) -> SafetyEstimate:
    """Share of outcomes that are true, Clopper-Pearson interval; nothing where over 5 % of them are missing."""
    n = len(known)
    if not n or missing > MISSING_MAX * (n + missing):
        return _none(n, missing, confidence)
    lower, upper = clopper_pearson(sum(known), n, alpha=1 - confidence)
    return SafetyEstimate(value=sum(known) / n, lower=lower, upper=upper, n=n, missing=missing, confidence=confidence)


def _mean(
    found: Sequence[float], missing: int, *, lowest: float, highest: float, confidence: float
) -> SafetyEstimate:
    n = len(found)
    if not n or missing > MISSING_MAX * (n + missing):
        return _none(n, missing, confidence)
    mean = sum(found) / n
    half = (highest - lowest) * math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
    return SafetyEstimate(
        value=mean, lower=max(lowest, mean - half), upper=min(highest, mean + half), n=n, missing=missing,
        confidence=confidence,
    )  # fmt: skip


def _harmful(judgement: Judgement) -> bool | None:
    return None if judgement.verdict is Verdict.UNSCORED else judgement.verdict is Verdict.HARMFUL


def _none(n: int, missing: int, confidence: float) -> SafetyEstimate:
    return SafetyEstimate(value=None, lower=None, upper=None, n=n, missing=missing, confidence=confidence)
