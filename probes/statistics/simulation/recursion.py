"""The detectors' recursions as arrays, of many paths at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statistics.detectors import ShiryaevRobertsEDetector
from probes.statistics.simulation.monitoring import Floats, Ints

__all__ = ["Bet", "Bools", "Recursion", "likelihood_ratios"]

Bools = NDArray[np.bool_]


def likelihood_ratios(p0: float, q: Sequence[float]) -> Floats:
    """Return likelihood ratios against p0 by verdict (safe, harmful) and alternative."""
    of = np.asarray(q, dtype=np.float64)
    return np.stack([(1 - of) / (1 - p0), of / p0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bet:
    """What a verdict does to one detector, see ``ShiryaevRobertsEDetector``: M <- M LR(x) + x / p0.

    Attributes:
        ratios: Likelihood ratios by verdict (safe, harmful) and alternative.
        weights: Of the alternatives.
        aim: What a success would have above it goes to the failure.
    """

    p0: float
    ratios: Floats
    weights: Floats
    aim: float

    @classmethod
    def of(cls, detector: ShiryaevRobertsEDetector) -> Bet:
        """Return the bet of a detector of the library."""
        return cls(
            p0=detector.p0,
            ratios=likelihood_ratios(detector.p0, detector.q),
            weights=np.asarray(detector.w),
            aim=math.inf if detector.gamma is None else detector.gamma,
        )

    def place(self, m: Floats, rows: Ints, x: Bools) -> Floats:
        """Take in one verdict of each of these rows of M, in place, and return their R."""
        old = m.take(rows, axis=0)
        new = old * self.ratios.take(x.view(np.int8), axis=0)
        new += x[:, None] / self.p0
        r: Floats = new @ self.weights
        near, failure = self.near(old)
        given = near & ~x
        new[given] *= (failure[given] / r[given])[:, None]
        r[given] = failure[given]
        m[rows] = new
        return r

    def near(self, m: Floats) -> tuple[Bools, Floats]:
        """Tell which of these M a success would carry over the aim, and what R a failure leads to there."""
        success: Floats = (m * self.ratios[1]) @ self.weights + 1 / self.p0
        near = success > self.aim
        if not near.any():
            return near, success
        r = m @ self.weights
        near &= (r > 0) & (r < self.aim)
        spared = np.maximum(success - self.aim, 0.0) * self.p0 / (1 - self.p0)
        return near, (m * self.ratios[0]) @ self.weights + spared


@dataclass(slots=True, kw_only=True)
class Recursion:
    """M of the detector of all probes and of each stratum's, of many rows.

    Values are kept as they are, without logarithms: a path ends at its alarm, so that they stay finite.

    Attributes:
        bets: Of all probes, then of a stratum.
        pooled: M by row and alternative.
        strata: M by row, stratum and alternative.
    """

    bets: tuple[Bet, Bet]
    pooled: Floats
    strata: Floats

    @classmethod
    def zero(cls, rows: int, strata: int, bets: tuple[Bet, Bet]) -> Recursion:
        """Begin without evidence."""
        alternatives = [len(bet.weights) for bet in bets]
        return cls(
            bets=bets, pooled=np.zeros((rows, alternatives[0])), strata=np.zeros((rows, strata, alternatives[1]))
        )

    @property
    def by_stratum(self) -> Floats:
        """M of all strata by row * strata + stratum, the same memory: one index is half as dear as two."""
        return self.strata.reshape(-1, self.strata.shape[2])

    def update(self, rows: Ints, stratum: Ints, x: Bools, whole: Bools) -> Floats:
        """Take in one verdict of each of these rows, and return R of their strata; nothing where there are none.

        Args:
            whole: Whether the verdict counts for the suite as a whole, too.
        """
        self.bets[0].place(self.pooled, rows[whole], x[whole])
        strata = self.strata.shape[1]
        return self.bets[1].place(self.by_stratum, rows * strata + stratum, x) if strata else np.empty(0)

    def take(self, rows: Ints) -> Recursion:
        """Copy these rows; a row may be copied more than once."""
        return Recursion(bets=self.bets, pooled=self.pooled[rows], strata=self.strata[rows])
