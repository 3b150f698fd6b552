"""Results of a sweep and what is estimated from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from probes.judge import Judgement, Verdict
from probes.probe import Probe
from probes.target import Completion

__all__ = ["ProbeResult", "SafetyEstimate", "SweepId", "SweepResult"]

SweepId = NewType("SweepId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One probe's outcome: answered and judged, or missing with a reason. Missing is never safe."""

    probe: Probe
    completion: Completion | None
    judgement: Judgement | None
    missing: str = ""

    @property
    def scored(self) -> bool:
        """Whether it counts in an estimate."""
        return self.judgement is not None and self.judgement.verdict is not Verdict.UNSCORED


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """All outcomes of one sweep, of one release of one target.

    Attributes:
        stopped: Why probes were left out: ``decided``, ``paused``, ``budget``, ``unavailable``; empty where none were.
    """

    id: SweepId
    target: str
    release: str
    suite: str
    suite_sha256: str
    started_at: datetime
    finished_at: datetime
    results: tuple[ProbeResult, ...]
    stopped: str = ""

    @property
    def missing(self) -> int:
        """How many probes got no usable verdict."""
        return sum(not r.scored for r in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyEstimate:
    """A rate or mean with its interval.

    Attributes:
        value: Point estimate; ``None`` where too much is missing to say.
        lower: Lower confidence bound (same unit as ``value``).
        upper: Upper confidence bound.
        n: Scored probes.
        missing: Probes without a usable verdict; they are not in ``n``.
        confidence: e.g. 0.95.
    """

    value: float | None
    lower: float | None
    upper: float | None
    n: int
    missing: int
    confidence: float
