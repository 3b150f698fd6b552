"""Many independent watches at once, one row each: the detectors' recursions as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statistics.detectors import ShiryaevRobertsEDetector
from probes.statistics.simulation.monitoring import Floats, Ints, Monitoring

__all__ = ["Bet", "Law", "Paths", "Recursion", "likelihood_ratios", "new_paths"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Rates of harmful verdicts by row and stratum, of survey draws and of hunts."""

    survey: Floats
    hunt: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Bet:
    """What a verdict does to M of one detector: M <- M LR(x) + start x, of each alternative.

    Attributes:
        ratios: Likelihood ratios by verdict (safe, harmful) and alternative.
        weights: Of the alternatives.
        start: 1 / p0 of an e-detector; 0 of a likelihood ratio, which nothing begins anew.
        aim: What a success would have above this goes to the failure, see ``ShiryaevRobertsEDetector``.
    """

    ratios: Floats
    weights: Floats
    start: float = 0.0
    aim: float = math.inf

    @classmethod
    def of(cls, detector: ShiryaevRobertsEDetector) -> Bet:
        """Return the bet of a detector of the library."""
        aim = math.inf if detector.gamma is None else detector.gamma
        ratios = likelihood_ratios(detector.p0, detector.q)
        return cls(ratios=ratios, weights=np.asarray(detector.w), start=1 / detector.p0, aim=aim)

    def place(self, m: Floats, rows: Ints, x: Bools) -> Floats:
        """Take in one verdict of each of these rows, in place, and return their R."""
        old = m.take(rows, axis=0)
        new = old * self.ratios.take(x.view(np.int8), axis=0)
        new += self.start * x[:, None]
        r: Floats = new @ self.weights
        if self.aim < math.inf:
            success = (old * self.ratios[1]) @ self.weights + self.start
            near = np.flatnonzero(~x & (success > self.aim) & (old @ self.weights < self.aim))
            gift = 1 + (success[near] - self.aim) / (self.start - 1) / r[near]
            new[near] *= gift[:, None]
            r[near] *= gift
        m[rows] = new
        return r


def likelihood_ratios(p0: float, q: Sequence[float]) -> Floats:
    """Return likelihood ratios against p0 by verdict (safe, harmful) and alternative."""
    of = np.asarray(q, dtype=np.float64)
    return np.stack([(1 - of) / (1 - p0), of / p0])


@dataclass(slots=True, kw_only=True)
class Recursion:
    """M of the survey's detector and of each stratum's, of many rows.

    Values are kept as they are, without logarithms: a path ends at its alarm, so that they stay finite.

    Attributes:
        bets: Of the survey, then of a stratum.
        survey: M by row and alternative.
        strata: M by row, stratum and alternative.
    """

    bets: tuple[Bet, Bet]
    survey: Floats
    strata: Floats

    @classmethod
    def zero(cls, rows: int, strata: int, bets: tuple[Bet, Bet]) -> Recursion:
        """Begin without evidence."""
        alternatives = [len(bet.weights) for bet in bets]
        return cls(
            bets=bets, survey=np.zeros((rows, alternatives[0])), strata=np.zeros((rows, strata, alternatives[1]))
        )

    def update(self, rows: Ints, stratum: Ints, x: Bools, surveyed: Bools) -> Floats:
        """Take in one verdict of each of these rows, and return R of their strata; nothing where there are none."""
        _, strata, alternatives = self.strata.shape
        if not strata:
            self.bets[0].place(self.survey, rows, x)
            return np.empty(0)
        self.bets[0].place(self.survey, rows[surveyed], x[surveyed])
        by_stratum = self.strata.reshape(-1, alternatives)  # a view: one index is half as dear as two
        return self.bets[1].place(by_stratum, rows * strata + stratum, x)

    def enter(self) -> None:
        """Let a change begin here, on all rows."""
        self.survey += 1.0
        self.strata += 1.0

    def take(self, rows: Ints) -> Recursion:
        """Copy these rows; a row may be copied more than once."""
        return Recursion(bets=self.bets, survey=self.survey[rows], strata=self.strata[rows])


@dataclass(slots=True, kw_only=True)
class Paths:
    """Simulated watches of one target, one a row.

    Attributes:
        evidence: Of the nulls; decides how much is probed, what is hunted, and when there is a breach.
        own: The strata's own R by row and stratum, kept beside ``evidence`` for speed.
        likelihood: Of the true healthy rate, for importance sampling; ``None`` where it is not asked for.
    """

    monitoring: Monitoring
    evidence: Recursion
    own: Floats
    likelihood: Recursion | None = None

    def r(self, rows: Ints) -> Floats:
        """Return the statistic R of these rows."""
        survey: Floats = self.evidence.survey[rows] @ self.evidence.bets[0].weights
        return 0.5 * survey + 0.5 * self.own[rows].sum(axis=1) if self.own.shape[1] else survey

    def send(self, rows: Ints, sizes: Ints, law: Law, rng: np.random.Generator) -> None:
        """Send one batch of each of these rows. What is hunted is decided before it."""
        hunted, hunting = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_)
        if self.own.shape[1]:
            own = self.own[rows]
            hunted, hunting = own.argmax(axis=1), own.max(axis=1) > 1.0
        for i in range(int(sizes.max(initial=0))):
            sent = (sizes > i) & (rng.random(len(rows)) >= self.monitoring.missing)
            self._probe(rows[sent], hunted[sent], hunting[sent], law, rng)

    def _probe(self, rows: Ints, hunted: Ints, hunting: Bools, law: Law, rng: np.random.Generator) -> None:
        stratum, surveyed = hunted, ~hunting
        if strata := self.own.shape[1]:
            surveyed = surveyed | (rng.random(len(rows)) < self.monitoring.epsilon)
            stratum = np.where(surveyed, rng.integers(strata, size=len(rows)), hunted)
        rate = np.where(surveyed, law.survey[rows, stratum], law.hunt[rows, stratum])
        x = rng.random(len(rows)) < rate
        r = self.evidence.update(rows, stratum, x, surveyed)
        if strata:
            self.own.reshape(-1)[rows * strata + stratum] = r
        if self.likelihood is not None:
            self.likelihood.update(rows, stratum, x, surveyed)

    def reset(self, rows: Ints) -> None:
        """Drop the evidence of these rows, as an incident that ends does."""
        self.evidence.survey[rows] = 0.0
        self.evidence.strata[rows] = 0.0
        self.own[rows] = 0.0

    def take(self, rows: Ints) -> Paths:
        """Copy these rows."""
        return Paths(
            monitoring=self.monitoring,
            evidence=self.evidence.take(rows),
            own=self.own[rows],
            likelihood=self.likelihood.take(rows) if self.likelihood else None,
        )


def new_paths(monitoring: Monitoring, rows: int, strata: int) -> Paths:
    """Begin to watch, without evidence."""
    survey, stratum = (Bet.of(detector) for detector in monitoring.detectors(strata=strata > 0))
    return Paths(
        monitoring=monitoring,
        evidence=Recursion.zero(rows, strata, (survey, stratum)),
        own=np.zeros((rows, strata)),
    )
