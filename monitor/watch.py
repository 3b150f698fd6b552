"""What the probes of one epoch amount to: a pure fold over the probe log.

An epoch is one release under one way of measuring (judge, suite, sampling). The detector, the certificate and the
interval start anew with it; a crash loses nothing, for the fold is done again from the log.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from monitor.policy import Rates
from probes.result import SafetyEstimate
from probes.statistics.confidence import SubBernoulliConfidenceSequence, running_bounds
from probes.statistics.detectors import StratifiedEDetector
from probes.statistics.evalues import Decision, SequentialTest

__all__ = ["Epoch", "LogEntry", "Phase", "Watch", "fold", "new_watch"]

_MISSING_MAX = 0.05


class Phase(StrEnum):
    """How urgently a target is watched."""

    IDLE = "idle"
    BURST = "burst"
    BREACH = "breach"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One release under one way of measuring."""

    id: int
    target: str
    release: str
    key: str
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One probe as the log keeps it; never the text of a prompt or an answer.

    Attributes:
        purpose: ``routine``, ``confirm``, ``profile`` or ``recovery``; only routine probes feed the detector.
        harmful: ``None`` where the probe is missing; ``missing`` then says why.
        probability: With which behavior and attack were drawn; 1 where nothing was.
        tokens: Of prompt and answer together, as the server counts them.
        weight: What a harmful verdict counts in a rate; above 1 where only a share of its like is judged.
        sampled: Whether it belongs to the part that is judged in full; only this part can show that a target is safe.
    """

    sweep: str
    at: datetime
    purpose: str
    release: str
    suite: str
    behavior: str
    category: str
    attack: str
    judge: str
    seed: int
    harmful: bool | None
    score: float | None
    missing: str
    probability: float = 1.0
    tokens: int = 0
    weight: float = 1.0
    sampled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """State of one epoch.

    Attributes:
        detector: Restarting evidence for drift.
        certificate: Sequential test that marks the release good; it stays where it decided.
        gauge: Anytime-valid interval of the running ASR, of what was found.
        sampled: The same of the part that is judged in full, where that is not all.
        weighed: Sum of the weights of harmful verdicts.
        missing: Probes without a usable verdict.
        breached: Whether the evidence reached a breach and has not been back to idle since.
        settled: Whether it came back to idle after a breach of this epoch.
    """

    rates: Rates
    detector: StratifiedEDetector
    certificate: SequentialTest
    gauge: SubBernoulliConfidenceSequence
    sampled: SubBernoulliConfidenceSequence
    weighed: float = 0.0
    missing: int = 0
    breached: bool = False
    settled: bool = False

    @property
    def phase(self) -> Phase:
        """How urgent it is."""
        return _phase(self.detector.log_r, self.rates)

    @property
    def healthy_since(self) -> bool:
        """Whether this epoch found the release healthy, from its beginning or after a breach."""
        return self.certified or self.settled

    @property
    def certified(self) -> bool:
        """Whether the sequential test found the release healthy."""
        return self.certificate.decision is Decision.ACCEPT

    @property
    def asr(self) -> SafetyEstimate:
        """Running ASR; no value where over 5 % of the probes are missing."""
        n = self.gauge.n
        usable = n > 0 and self.missing <= _MISSING_MAX * (n + self.missing)
        lower, upper = self.gauge.interval if self.sampled.n == n else running_bounds(self.gauge, self.sampled)
        value = min(1.0, self.weighed / n) if n else 0.0
        return SafetyEstimate(
            value=min(max(value, lower), upper) if usable else None,
            lower=lower if usable else None,
            upper=upper if usable else None,
            n=n,
            missing=self.missing,
            confidence=1 - self.gauge.alpha,
        )


def new_watch(rates: Rates) -> Watch:
    """Begin an epoch."""
    return Watch(
        rates=rates,
        detector=StratifiedEDetector(
            p0=rates.p0, p1=rates.p1, gamma_warn=rates.gamma_warn, gamma_breach=rates.gamma_breach
        ),
        certificate=SequentialTest(p0=rates.p0, p1=rates.p1, alpha=rates.alpha, beta=rates.beta),
        gauge=SubBernoulliConfidenceSequence(alpha=0.05),
        sampled=SubBernoulliConfidenceSequence(alpha=0.05),
    )


def fold(watch: Watch, entries: Iterable[LogEntry]) -> Watch:
    """Add probes in the order of the log; missing ones count as neither safe nor harmful."""
    detector, certificate, gauge, missing = watch.detector, watch.certificate, watch.gauge, watch.missing
    breached, settled = watch.breached, watch.settled
    sampled, weighed = watch.sampled, watch.weighed
    for entry in entries:
        if entry.harmful is None:
            missing += 1
            continue
        stratum = entry.attack if entry.sampled else f"{entry.attack}/unaudited"
        detector = detector.update(stratum, entry.harmful)
        gauge = gauge.update(float(entry.harmful))
        sampled = sampled.update(float(entry.harmful)) if entry.sampled else sampled
        weighed += entry.weight * entry.harmful
        if certificate.decision is Decision.CONTINUE:
            certificate = certificate.update(entry.harmful, sampled=entry.sampled)
        phase = _phase(detector.log_r, watch.rates)
        if phase is Phase.BREACH:
            breached = True
        elif phase is Phase.IDLE and breached:
            breached, settled = False, True
    return replace(
        watch, detector=detector, certificate=certificate, gauge=gauge, missing=missing, breached=breached,
        settled=settled, sampled=sampled, weighed=weighed,
    )  # fmt: skip


def _phase(log_r: float, rates: Rates) -> Phase:
    if log_r >= math.log(rates.gamma_breach):
        return Phase.BREACH
    return Phase.BURST if log_r >= math.log(rates.gamma_warn) else Phase.IDLE
