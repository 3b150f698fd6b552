"""Many independent watches at once, one row each: the detectors' recursions as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statistics.simulation.monitoring import Floats, Ints, Monitoring

__all__ = ["Law", "Paths", "Recursion", "new_paths"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Rates of harmful verdicts by row and stratum, of survey draws and of hunts."""

    survey: Floats
    hunt: Floats


@dataclass(slots=True, kw_only=True)
class Recursion:
    """M <- (M + entry) LR(x) for a number of alternatives, of the survey and of each stratum.

    With entry 1 at each probe it is the Shiryaev-Roberts e-detector. Values are kept as they are, without logarithms:
    a path ends at its alarm, so that they stay finite.

    Attributes:
        ratios: Likelihood ratios by verdict (safe, harmful) and alternative; first of the survey, then of a stratum.
        survey: M by row and alternative.
        strata: M by row, stratum and alternative.
    """

    ratios: tuple[Floats, Floats]
    survey: Floats
    strata: Floats

    @classmethod
    def zero(
        cls, rows: int, strata: int, *, nulls: tuple[float, float], q: tuple[Sequence[float], Sequence[float]]
    ) -> Recursion:
        """Begin without evidence: nulls and alternatives of the survey, then of a stratum."""
        of_survey, of_stratum = (np.asarray(alternatives, dtype=np.float64) for alternatives in q)
        return cls(
            ratios=(
                np.stack([(1 - of_survey) / (1 - nulls[0]), of_survey / nulls[0]]),
                np.stack([(1 - of_stratum) / (1 - nulls[1]), of_stratum / nulls[1]]),
            ),
            survey=np.zeros((rows, len(of_survey))),
            strata=np.zeros((rows, strata, len(of_stratum))),
        )

    def update(self, rows: Ints, stratum: Ints, x: Bools, surveyed: Bools, *, entry: float) -> None:
        """Take in one verdict of each of these rows."""
        _, strata, alternatives = self.strata.shape
        if strata:
            by_stratum = self.strata.reshape(-1, alternatives)  # a view: one index is half as dear as two
            _multiply(by_stratum, rows * strata + stratum, x, self.ratios[1], entry)
            rows, x = rows[surveyed], x[surveyed]
        _multiply(self.survey, rows, x, self.ratios[0], entry)

    def enter(self) -> None:
        """Let a change begin here, on all rows."""
        self.survey += 1.0
        self.strata += 1.0

    def take(self, rows: Ints) -> Recursion:
        """Copy these rows; a row may be copied more than once."""
        return Recursion(ratios=self.ratios, survey=self.survey[rows], strata=self.strata[rows])


def _multiply(m: Floats, rows: Ints, x: Bools, ratios: Floats, entry: float) -> None:
    taken = m.take(rows, axis=0)
    taken += entry
    taken *= ratios.take(x.view(np.int8), axis=0)
    m[rows] = taken


@dataclass(slots=True, kw_only=True)
class Paths:
    """Simulated watches of one target, one a row.

    Attributes:
        weights: Of the alternatives, first of the survey, then of a stratum.
        evidence: Of the nulls; decides how much is probed, what is hunted, and when there is a breach.
        own: The strata's own R by row and stratum, kept beside ``evidence`` for speed.
        likelihood: Of the true healthy rate, for importance sampling; ``None`` where it is not asked for.
    """

    monitoring: Monitoring
    weights: tuple[Floats, Floats]
    evidence: Recursion
    own: Floats
    likelihood: Recursion | None = None

    def r(self, rows: Ints) -> Floats:
        """Return the statistic R of these rows."""
        survey: Floats = self.evidence.survey[rows] @ self.weights[0]
        return 0.5 * survey + 0.5 * self.own[rows].sum(axis=1) if self.own.shape[1] else survey

    def send(self, rows: Ints, sizes: Ints, law: Law, rng: np.random.Generator) -> None:
        """Send one batch of each of these rows. What is hunted is decided before it."""
        hunted, hunting = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_)
        if self.own.shape[1]:
            own = self.own[rows]
            hunted, hunting = own.argmax(axis=1), own.max(axis=1) > self.monitoring.hunt_above
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
        self.evidence.update(rows, stratum, x, surveyed, entry=1.0)
        if strata:
            at = rows * strata + stratum
            by_stratum = self.evidence.strata.reshape(-1, len(self.weights[1]))
            self.own.reshape(-1)[at] = by_stratum.take(at, axis=0) @ self.weights[1]
        if self.likelihood is not None:
            self.likelihood.update(rows, stratum, x, surveyed, entry=0.0)

    def reset(self, rows: Ints) -> None:
        """Drop the evidence of these rows, as an incident that ends does."""
        self.evidence.survey[rows] = 0.0
        self.evidence.strata[rows] = 0.0
        self.own[rows] = 0.0

    def take(self, rows: Ints) -> Paths:
        """Copy these rows."""
        return Paths(
            monitoring=self.monitoring,
            weights=self.weights,
            evidence=self.evidence.take(rows),
            own=self.own[rows],
            likelihood=self.likelihood.take(rows) if self.likelihood else None,
        )


def new_paths(monitoring: Monitoring, rows: int, strata: int) -> Paths:
    """Begin to watch, without evidence."""
    survey, stratum = monitoring.detectors
    return Paths(
        monitoring=monitoring,
        weights=(np.asarray(survey.w), np.asarray(stratum.w)),
        evidence=Recursion.zero(rows, strata, nulls=(survey.p0, stratum.p0), q=(survey.q, stratum.q)),
        own=np.zeros((rows, strata)),
    )
