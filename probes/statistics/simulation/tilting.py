"""Laws under which false alarms are frequent, and their likelihood ratios against the healthy law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probes.statistics.alternatives import log_factors
from probes.statistics.detectors import ShiryaevRobertsEDetector
from probes.statistics.simulation.monitoring import Floats, Ints
from probes.statistics.simulation.recursion import Bet, Bools, Recursion

__all__ = ["Tilt", "Tilting", "new_tilting", "tilt_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tilt:
    """Rates under which a detector's evidence most probably gets high although the true rate is healthy.

    For each alternative rate * LR(1)^theta, where theta solves E[LR^theta] = 1 at the true rate (Cramer). At a true
    rate of p0 theta is 1 and the tilted rate is the alternative.

    Attributes:
        q: Tilted rates, one for each alternative.
        theta: The smallest of the thetas: by this power of R alarms get rare.
    """

    q: Floats
    theta: float


def tilt_of(detector: ShiryaevRobertsEDetector, rate: float) -> Tilt:
    """Return the tilt of a detector whose true rate is ``rate``, at most its p0."""
    ups, downs = (log_factors(detector.p0, detector.q, x) for x in (1.0, 0.0))
    thetas = [_theta(rate, up, down) for up, down in zip(ups, downs, strict=True)]
    q = [rate * math.exp(theta * up) for theta, up in zip(thetas, ups, strict=True)]
    return Tilt(q=np.array(q), theta=min(thetas))


def _theta(rate: float, up: float, down: float) -> float:
    def log_moment(theta: float) -> float:
        return float(np.logaddexp(math.log(rate) + theta * up, math.log1p(-rate) + theta * down))

    if log_moment(1.0) >= 0:
        return 1.0
    low, high = 1.0, 2.0
    while log_moment(high) < 0:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if log_moment(middle) < 0 else (low, middle)
    return high


@dataclass(slots=True, kw_only=True)
class Tilting:
    """The healthy law, or one of its tilts, on the same paths, with the likelihood ratios of all tilts.

    A tilt is of all probes that count for the suite, or of one stratum's. Where a success would carry a detector over
    its aim, the tilted rate is lowered: it follows R^theta, which is then bounded by the aim.

    Attributes:
        rate: The healthy rate.
        tilts: Of all probes, then of a stratum.
        pooled: Sum over beginnings of the likelihood ratio since then, by row and tilt of all probes.
        strata: The same of each stratum.
        plan: Which law holds on each row: -1 the healthy one, j tilt j of all probes, J + j tilt j of the first
            stratum.
    """

    rate: float
    tilts: tuple[Tilt, Tilt]
    pooled: Floats
    strata: Floats
    plan: Ints
    _now: tuple[Floats, Floats] | None = None

    @property
    def plans(self) -> int:
        """How many tilts there are, those of other strata left out."""
        of_all, of_stratum = (len(t.q) for t in self.tilts)
        return of_all + of_stratum if self.strata.shape[1] else of_all

    def enter(self) -> None:
        """Let a tilt begin here, on all rows."""
        self.pooled += 1.0
        self.strata += 1.0

    def total(self, rows: Ints) -> Floats:
        """Return the sum of these rows' likelihood ratios over all beginnings and tilts."""
        total: Floats = self.pooled[rows].sum(axis=1) + self.strata[rows].sum(axis=(1, 2))
        return total

    def take(self, rows: Ints, plan: Ints) -> Tilting:
        """Copy these rows, and let other laws hold on them from now on."""
        return Tilting(rate=self.rate, tilts=self.tilts, pooled=self.pooled[rows], strata=self.strata[rows], plan=plan)

    def rates(self, evidence: Recursion, rows: Ints, stratum: Ints, whole: Bools) -> Floats:
        """Return the rates of the laws that hold."""
        strata = self.strata.shape[1]
        of_all = self._tilted(0, evidence.bets[0], evidence.pooled.take(rows, axis=0))
        of_stratum = of_all
        if strata:
            of_stratum = self._tilted(1, evidence.bets[1], evidence.by_stratum.take(rows * strata + stratum, axis=0))
        self._now = of_all, of_stratum
        plan, rates = self.plan[rows], np.full(len(rows), self.rate)
        for j in range(len(self.tilts[0].q)):
            rates = np.where((plan == j) & whole, of_all[:, j], rates)
        for j in range(len(self.tilts[1].q) if strata else 0):
            rates = np.where((plan == len(self.tilts[0].q) + j) & (stratum == 0), of_stratum[:, j], rates)
        return rates

    def _tilted(self, which: int, bet: Bet, m: Floats) -> Floats:
        tilt = self.tilts[which]
        q = np.broadcast_to(tilt.q, m.shape)
        near, failure = bet.near(m)
        if not near.any():
            return q
        odds = self.rate / (1 - self.rate) * np.maximum(bet.aim / failure[near], 1.0) ** tilt.theta
        q = q.copy()
        q[near] = (odds / (1 + odds))[:, None]
        return q

    def learn(self, rows: Ints, stratum: Ints, x: Bools, whole: Bools) -> None:
        """Multiply the likelihood ratios by those of the verdicts."""
        if self._now is None:
            raise ValueError("verdicts can't be learned before their rates were asked for")
        of_all, of_stratum = (self._ratios(q, x) for q in self._now)
        strata = self.strata.shape[1]
        if strata:
            by_stratum = self.strata.reshape(-1, self.strata.shape[2])
            at = rows * strata + stratum
            by_stratum[at] = by_stratum.take(at, axis=0) * of_stratum
        self.pooled[rows[whole]] = self.pooled.take(rows[whole], axis=0) * of_all[whole]

    def _ratios(self, q: Floats, x: Bools) -> Floats:
        return np.where(x[:, None], q / self.rate, (1 - q) / (1 - self.rate))


def new_tilting(evidence: Recursion, tilts: tuple[Tilt, Tilt], rate: float) -> Tilting:
    """Begin with the healthy law on all rows."""
    return Tilting(
        rate=rate,
        tilts=tilts,
        pooled=np.zeros_like(evidence.pooled),
        strata=np.zeros_like(evidence.strata),
        plan=np.full(len(evidence.pooled), -1),
    )
