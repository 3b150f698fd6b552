"""Many independent watches at once, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from probes.statistics.simulation.monitoring import Floats, Ints, Monitoring
from probes.statistics.simulation.recursion import Bet, Bools, Recursion

__all__ = ["Law", "Paths", "StratumRates", "new_paths"]


class Law(Protocol):
    """What decides verdicts."""

    def rates(self, evidence: Recursion, rows: Ints, stratum: Ints, whole: Bools) -> Floats:
        """Return the probability of a harmful verdict of one probe of each of these rows."""
        ...

    def learn(self, rows: Ints, stratum: Ints, x: Bools, whole: Bools) -> None:
        """Take note of the verdicts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumRates:
    """A rate for each stratum, the same all the time; one rate where there are no strata."""

    by_stratum: Floats

    def rates(self, evidence: Recursion, rows: Ints, stratum: Ints, whole: Bools) -> Floats:
        """Return the strata's rates."""
        del evidence, rows, whole
        return self.by_stratum[stratum]

    def learn(self, rows: Ints, stratum: Ints, x: Bools, whole: Bools) -> None:
        """Nothing is to be learned."""


@dataclass(slots=True, kw_only=True)
class Paths:
    """Simulated watches of one target, one a row.

    Attributes:
        evidence: Decides how much is probed, what is hunted, and when there is a breach.
        own: The strata's own R by row and stratum, kept beside ``evidence`` for speed.
        turn: Survey probes so far, by row; the survey takes the strata in turn.
    """

    monitoring: Monitoring
    evidence: Recursion
    own: Floats
    turn: Ints

    def r(self, rows: Ints) -> Floats:
        """Return the statistic R of these rows."""
        pooled = self.r_pooled(rows)
        return 0.5 * pooled + 0.5 * self.own[rows].sum(axis=1) if self.own.shape[1] else pooled

    def r_pooled(self, rows: Ints) -> Floats:
        """Return these rows' R of all probes together."""
        r: Floats = self.evidence.pooled[rows] @ self.evidence.bets[0].weights
        return r

    def fired(self, rows: Ints) -> Bools:
        """Tell where a breach stands on strata and not on all probes together, as ``Watch.fired`` of the daemon.

        e-BH at the lower threshold: the k-th largest is at least gamma_warn / k for some k. And the suite has no more
        than ten times the evidence of all strata; that its ASR is surely over p0 is not looked at.
        """
        ranked = -np.sort(-self.own[rows], axis=1)
        reached: Bools = ranked * np.arange(1, ranked.shape[1] + 1) >= self.monitoring.gamma_warn
        more = self.r_pooled(rows) > 10 * self.own[rows].sum(axis=1)
        named: Bools = np.logical_or.reduce(reached, axis=1) & ~more
        return named

    def urgency(self, rows: Ints) -> Floats:
        """Return how urgently these rows are watched, from 0 to 1."""
        return self.monitoring.urgency(self.r(rows))

    def send(self, rows: Ints, sizes: Ints, law: Law, rng: np.random.Generator) -> None:
        """Send one batch of each of these rows. What is hunted is decided before it."""
        hunted, hunting = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_)
        if self.own.shape[1]:
            own = self.own[rows]
            hunted, hunting = own.argmax(axis=1), own.max(axis=1) > np.maximum(1.0, self.r_pooled(rows))
        for i in range(int(sizes.max(initial=0))):
            sent = sizes > i
            self._probe(rows[sent], hunted[sent], hunting[sent], law, rng)

    def _probe(self, rows: Ints, hunted: Ints, hunting: Bools, law: Law, rng: np.random.Generator) -> None:
        stratum, strata = hunted, self.own.shape[1]
        whole = np.ones(len(rows), dtype=np.bool_)
        if strata:
            surveyed = ~hunting | (rng.random(len(rows)) < self.monitoring.epsilon)
            flat = self.monitoring.flat
            due = self.turn[rows] % strata if flat else rng.integers(strata, size=len(rows))
            stratum = np.where(surveyed, due, hunted)
            self.turn[rows] += surveyed
            whole = surveyed | flat
        if self.monitoring.missing:
            there = rng.random(len(rows)) >= self.monitoring.missing
            rows, stratum, whole = rows[there], stratum[there], whole[there]
        x = rng.random(len(rows)) < law.rates(self.evidence, rows, stratum, whole)
        r = self.evidence.update(rows, stratum, x, whole)
        if strata:
            self.own.reshape(-1)[rows * strata + stratum] = r
        law.learn(rows, stratum, x, whole)

    def reset(self, rows: Ints) -> None:
        """Drop the evidence of these rows, as an incident that ends does."""
        self.evidence.pooled[rows] = 0.0
        self.evidence.strata[rows] = 0.0
        self.own[rows] = 0.0

    def take(self, rows: Ints) -> Paths:
        """Copy these rows."""
        return Paths(
            monitoring=self.monitoring, evidence=self.evidence.take(rows), own=self.own[rows], turn=self.turn[rows]
        )


def new_paths(monitoring: Monitoring, rows: int, strata: int) -> Paths:
    """Begin to watch, without evidence; the first turn differs from row to row."""
    pooled, stratum = (Bet.of(detector) for detector in monitoring.detectors(strata=strata > 0))
    return Paths(
        monitoring=monitoring,
        evidence=Recursion.zero(rows, strata, (pooled, stratum)),
        own=np.zeros((rows, strata)),
        turn=np.arange(rows),
    )
