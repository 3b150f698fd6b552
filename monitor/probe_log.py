"""What the probe log holds: entries, and the epochs they belong to. Never the text of a prompt or an answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitor.baseline import Baseline

__all__ = ["Epoch", "LogEntry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One release under one way of measuring.

    Attributes:
        key: Digest of judge, suites, attacks and sampling, the server's version, the incident before it and the
            baseline: whatever changes in it begins a new epoch.
        baseline: What its strata are held against; fixed when the epoch begins, ``None`` where nothing is known.
    """

    id: int
    target: str
    release: str
    key: str
    started_at: datetime
    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One probe as the log keeps it.

    Attributes:
        purpose: ``routine``, ``certify``, ``confirm``, ``profile`` or ``recovery``; only routine probes feed the
            detector.
        harmful: ``None`` where the probe is missing; ``missing`` then says why.
        probability: With which behavior and attack were drawn; 1 where nothing was.
        tokens: Of prompt and answer together, as the server counts them.
        weight: What a harmful verdict counts in a rate; above 1 where only a share of its like is judged.
        sampled: Whether it belongs to the part that is judged in full; only this part can show that a target is safe.
        epoch: Id of its epoch; 0 outside epochs.
        position: Number within its epoch and purpose, from 1; 0 outside epochs.
        stream: ``survey`` (drawn as the suite is), ``hunt`` (where evidence was) or ``sentinel``.
        share: Of this behavior and attack in the suite.
        before: What the last good release answered to the same prompt and attack: harmful or not, ``None`` where that
            is unknown.
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
    epoch: int = 0
    position: int = 0
    stream: str = "survey"
    share: float = 1.0
    before: bool | None = None
