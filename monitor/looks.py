"""What looks at a server's log-probabilities amount to: a pure fold over the looks of one epoch.

A look asks a few fixed harmless prompts for one token each, with the log-probabilities of the likeliest. The first
quarter of the reference looks makes a baseline, token by token their mean; the others, and every look after them, are
scored by their distance from it. So the scores of the reference and those of later looks come about in the same way,
and are exchangeable as long as the server stays as it is; scores of looks that went into the baseline would be too
small. ``Tripwire`` holds later scores against those of the reference.

The distance is that of Log Probability Tracking (Chauvin et al., arXiv 2512.03816): the mean over tokens of the
absolute difference of mean log-probabilities, where a token that was not among the likeliest counts at the smallest one
that was shown. There one prompt of one letter is asked and a permutation test compares two finished samples; here a few
prompts are asked, and the test never ends.

A look that lacks an answer is missing as a whole: with fewer prompts it would be another kind of look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import fmean
from typing import Any

from monitor.errors import LogFault
from probes.statistics.tripwire import Tripwire

__all__ = ["NO_LOGPROBS", "LookRow", "Reading", "TripwireState", "distance", "fold_looks", "new_tripwire"]

Reading = Mapping[str, float]
"""Log-probabilities of one prompt's first token, by the token's digest."""

NO_LOGPROBS = "no_logprobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRow:
    """One look as the store keeps it; never a text.

    Attributes:
        key: Digest of what is asked and of how many looks are the reference; another key begins anew.
        position: Place among the looks of its epoch and key, from 1.
        missing: Stable word for why there is no reading, e.g. ``timeout``; empty where there is one.
        readings: One for each prompt, of looks that make the baseline.
        score: Distance from the baseline, of all others.
    """

    target: str
    epoch: int
    key: str
    position: int
    at: datetime
    missing: str = ""
    readings: tuple[Reading, ...] = ()
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TripwireState:
    """What the looks so far amount to.

    Attributes:
        reference: Looks that the rest is held against.
        readings: Of the looks that make the baseline, so far.
        scores: Of the other reference looks, so far; after these the wire has them.
        wire: What watches; ``None`` while the reference is not full.
        position: Looks so far, missing ones too.
        missing: Looks without a reading.
        last_missing: Why the last look has none; empty where it has one.
    """

    reference: int
    gamma: float
    readings: tuple[tuple[Reading, ...], ...] = ()
    scores: tuple[float, ...] = ()
    wire: Tripwire | None = None
    first: LookRow | None = None
    position: int = 0
    missing: int = 0
    last_missing: str = ""

    @property
    def tripped(self) -> bool:
        """Whether the server changed; it falls back when looks are as before again."""
        return self.wire is not None and self.wire.tripped

    @property
    def log_evidence(self) -> float:
        """Natural log of the evidence; minus infinity before the first look after the reference."""
        return self.wire.log_r if self.wire else -math.inf

    @property
    def n(self) -> int:
        """Looks with a reading."""
        return self.position - self.missing

    @property
    def off(self) -> bool:
        """Whether the server gives no log-probabilities: there is nothing to look at until the next epoch."""
        return not self.n and self.last_missing == NO_LOGPROBS

    @property
    def why(self) -> str:
        """What is wrong or not ready yet, in words; empty while it watches."""
        if self.off:
            return "the server gives no top_logprobs, so there is nothing to look at; set tripwire off for this target"
        if self.tripped:
            return "first tokens' log-probabilities moved away from the reference: more probes are sent"
        if self.wire is None:
            return f"{self.n} of {self.reference} reference looks"
        return f"the last look is missing ({self.last_missing})" if self.last_missing else ""

    @property
    def baseline(self) -> tuple[Reading, ...]:
        """What looks are held against, prompt by prompt; empty while looks still go into it."""
        if len(self.readings) < _baseline_looks(self.reference):
            return ()
        return tuple(_mean(of_prompt) for of_prompt in zip(*self.readings, strict=True))

    def update(self, row: LookRow) -> TripwireState:
        """Return the state after one more look.

        Raises:
            LogFault: It is not the look that follows; the message names it.
        """
        self._require_next(row)
        state = replace(self, first=self.first or row, position=row.position, last_missing=row.missing)
        if row.missing:
            return replace(state, missing=self.missing + 1)
        if len(self.readings) < _baseline_looks(self.reference):
            return replace(state, readings=(*self.readings, row.readings))
        score = row.score or 0.0
        if self.wire:
            return replace(state, wire=self.wire.update(score))
        scores = (*self.scores, score)
        if len(self.readings) + len(scores) < self.reference:
            return replace(state, scores=scores)
        return replace(state, scores=scores, wire=Tripwire(reference=scores, gamma=self.gamma))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; no evidence is ``None``, for JSON has no infinity."""
        evidence = self.log_evidence if math.isfinite(self.log_evidence) else None
        return {
            "tripped": self.tripped, "off": self.off, "why": self.why, "log_evidence": evidence,
            "log_threshold": math.log(self.gamma), "n": self.n, "missing": self.missing,
        }  # fmt: skip

    def _require_next(self, row: LookRow) -> None:
        name = f"look {row.position} at target {row.target}, epoch {row.epoch}"
        first = self.first or row
        if (row.target, row.epoch, row.key) != (first.target, first.epoch, first.key):
            raise LogFault(f"{name}: it belongs to other looks than those before; restore the store")
        if row.position != self.position + 1:
            raise LogFault(f"{name}: look {self.position + 1} was to follow; looks are lost or doubled")
        if row.missing:
            return
        baseline = len(self.readings) < _baseline_looks(self.reference)
        asked = len(self.readings[0]) if self.readings else len(row.readings)
        if baseline and not (row.readings and all(row.readings) and len(row.readings) == asked):
            raise LogFault(f"{name}: it is to make the baseline and has no reading for each prompt")
        if not baseline and (row.score is None or not 0 <= row.score < math.inf):
            raise LogFault(f"{name}: its score {row.score} is no distance")


def new_tripwire(*, reference: int, gamma: float) -> TripwireState:
    """Begin an epoch.

    Raises:
        ValueError: The reference is too small for a baseline and ten scores, or gamma is no number above 1.
    """
    if reference < 16:
        raise ValueError(f"reference = {reference} looks make no baseline and reference scores; take at least 16")
    if not 1 < gamma < math.inf:
        raise ValueError(f"gamma = {gamma} must be a number above 1")
    return TripwireState(reference=reference, gamma=gamma)


def fold_looks(rows: Iterable[LookRow], *, reference: int, gamma: float) -> TripwireState:
    """Fold all looks of one epoch and key, in order.

    Raises:
        LogFault: A look is doubled, lost or another epoch's; the message names it.
    """
    state = new_tripwire(reference=reference, gamma=gamma)
    for row in rows:
        state = state.update(row)
    return state


def distance(readings: Sequence[Reading], baseline: Sequence[Reading]) -> float:
    """Score a look: the mean over prompts of the mean over tokens of |log-probability - baseline|.

    Tokens are those of either side; one that a side lacks counts at that side's smallest.
    """
    return fmean(_apart(mine, theirs) for mine, theirs in zip(readings, baseline, strict=True))


def _apart(mine: Reading, theirs: Reading) -> float:
    return fmean(abs(_value(mine, token) - _value(theirs, token)) for token in mine.keys() | theirs.keys())


def _mean(readings: Sequence[Reading]) -> Reading:
    tokens = set().union(*readings)
    return {token: fmean(_value(reading, token) for reading in readings) for token in sorted(tokens)}


def _value(reading: Reading, token: str) -> float:
    return reading[token] if token in reading else min(reading.values())


def _baseline_looks(reference: int) -> int:
    return reference // 4
