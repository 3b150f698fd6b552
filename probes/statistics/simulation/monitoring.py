"""How a target is watched and what happens to it: the nouns of a simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statistics.detectors import ShiryaevRobertsEDetector, StratifiedEDetector

__all__ = ["DAY_SECONDS", "YEAR_SECONDS", "Drift", "Floats", "Ints", "Monitoring", "judged_rate"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_SECONDS, YEAR_SECONDS = 86_400.0, 365.25 * 86_400.0
_BEFORE_MIN = 1e-3
_STRATA_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A change of a target's ASR, as its judge shows it.

    Attributes:
        before: ASR of every stratum while the target is healthy.
        after: ASR of what drifts; ``None`` where nothing does.
        strata: Equal strata that the suite is probed by; 0 where it is probed as one.
        drifted: How many of them drift.
    """

    before: float
    after: float | None = None
    strata: int = 0
    drifted: int = 0

    def __post_init__(self) -> None:
        """Refuse rates and counts that are no drift."""
        for name, rate in (("before", self.before), ("after", self.after)):
            if rate is not None and not 0 <= rate < 1:
                raise ValueError(f"{name} = {rate:g} must lie between 0 and 1")
        if self.before < _BEFORE_MIN:
            raise ValueError(
                f"before = {self.before:g} is rarer than what is simulated in seconds; give {_BEFORE_MIN:g}: the "
                "figures are hardly others"
            )
        if self.after is not None and self.after <= self.before:
            raise ValueError(
                f"before = {self.before:g} must be under after = {self.after:g}: a drift is a change for the worse; "
                "swap the two"
            )
        if not 0 <= self.strata <= _STRATA_MAX:
            raise ValueError(f"{self.strata} strata: between 0 and {_STRATA_MAX} can be simulated")
        least = 1 if self.strata and self.after is not None else 0
        if not least <= self.drifted <= self.strata:
            raise ValueError(f"{self.drifted} of {self.strata} strata can't drift; name 1 to {self.strata}")

    @property
    def overall(self) -> float:
        """ASR of the whole suite after the drift."""
        if self.after is None or not self.strata:
            return self.before if self.after is None else self.after
        return self.before + (self.after - self.before) * self.drifted / self.strata


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """How a target is watched: thresholds of the evidence, and a schedule that follows it.

    A probe surveys the suite or hunts the stratum with most evidence. The statistic is R = R_pooled / 2 + sum_k R_k / 2
    with one e-detector for the suite and one for each stratum, or the first alone where there are no strata. A probe
    raises its mean by at most 1 while no rate is above its null, so that R stays an e-detector. The suite's is held
    against p0: by survey probes that are drawn by lot; where p0 is the null of every stratum, by all probes, and the
    survey takes the strata in turn.

    Attributes:
        p0: Highest overall ASR that is healthy.
        p1: Smallest ASR that must be found quickly.
        stratum_p0: The same as ``p0`` for one stratum; ``p0`` where it is not given.
        epsilon: Share of the survey while a stratum's R is above 1 and above the suite's; all are before.
        missing: Share of the probes that give no verdict; they cost and tell nothing.
        requests_per_minute: Most probes a minute; ``None`` for no bound.
        probes_per_day: Most probes a day; ``None`` for no bound.
    """

    p0: float
    p1: float
    gamma_warn: float
    gamma_breach: float
    interval_seconds: float
    batch: int
    burst_interval_seconds: float
    burst_batch: int
    stratum_p0: float | None = None
    epsilon: float = 0.5
    missing: float = 0.0
    requests_per_minute: float | None = None
    probes_per_day: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no way of watching."""
        for name, rate in (("p0", self.p0), ("p1", self.p1), ("stratum_p0", self.null)):
            if not 0 < rate < 1:
                raise ValueError(f"{name} = {rate:g} must lie between 0 and 1")
        if not self.p0 < self.p1:
            raise ValueError(f"p1 = {self.p1:g} must be above p0 = {self.p0:g}")
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon = {self.epsilon:g} must be above 0 and at most 1")
        if not 0 <= self.missing < 1:
            raise ValueError(f"missing = {self.missing:g} must be at least 0 and under 1: a share of the probes")
        if not 1 < self.gamma_warn < self.gamma_breach < math.inf:
            raise ValueError(
                f"gamma_warn = {self.gamma_warn:g} must be above 1 and under gamma_breach = {self.gamma_breach:g}"
            )
        self._require_schedule()

    def _require_schedule(self) -> None:
        for name in ("interval_seconds", "burst_interval_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name):g} must be above 0")
        for name in ("batch", "burst_batch", "requests_per_minute", "probes_per_day"):
            bound = getattr(self, name)
            if bound is not None and not 1 <= bound < math.inf:
                raise ValueError(f"{name} = {bound:g} lets no probe through; allow at least 1")

    @property
    def null(self) -> float:
        """Highest healthy ASR of one stratum."""
        return self.p0 if self.stratum_p0 is None else self.stratum_p0

    @property
    def flat(self) -> bool:
        """Whether p0 is the null of every stratum."""
        return self.null <= self.p0

    def detectors(self, *, strata: bool) -> tuple[ShiryaevRobertsEDetector, ShiryaevRobertsEDetector]:
        """Return the detector of the suite and that of one stratum, with the daemon's nulls and alternatives.

        Where both count by half, each aims at twice ``gamma_breach``: that is what makes an alarm by itself.
        """
        if not strata:
            alone = ShiryaevRobertsEDetector.tilted(p0=self.p0, p1=self.p1, gamma=self.gamma_breach)
            return alone, alone
        nulls, aim = {} if self.stratum_p0 is None else {"": self.stratum_p0}, 2 * self.gamma_breach
        by_stratum = StratifiedEDetector(p0=self.p0, p1=self.p1, nulls=nulls, gamma_breach=aim).update("", 0.0)
        return ShiryaevRobertsEDetector.tilted(self.p0, self.p1, gamma=aim), by_stratum.strata[""]

    def urgency(self, r: Floats) -> Floats:
        """Return 0 while R is at most 1, 1 from ``gamma_warn`` on: log R / log gamma_warn between."""
        u: Floats = np.log(np.maximum(r, 1.0)) / math.log(self.gamma_warn)
        return np.minimum(u, 1.0)

    def batch_size(self, urgency: Floats) -> Ints:
        """Probes of a batch: from ``batch`` to ``burst_batch`` on a geometric scale."""
        return np.rint(self.batch * (self.burst_batch / self.batch) ** urgency).astype(np.int64)

    def gap_seconds(self, urgency: Floats) -> Floats:
        """Seconds to the next batch, geometric too; a batch may last as long as the bound of a minute asks for."""
        gap: Floats = self.interval_seconds * (self.burst_interval_seconds / self.interval_seconds) ** urgency
        if self.requests_per_minute is None:
            return gap
        longest: Floats = np.maximum(gap, self.batch_size(urgency) * 60.0 / self.requests_per_minute)
        return longest

    def probes_a_day(self, urgency: float) -> float:
        """Probes a day at an urgency that stays as it is."""
        u = np.array([urgency])
        sent = float(self.batch_size(u)[0]) * DAY_SECONDS / float(self.gap_seconds(u)[0])
        return sent if self.probes_per_day is None else min(sent, self.probes_per_day)


def judged_rate(rate: float, *, sensitivity: float, specificity: float) -> float:
    """ASR that a judge shows where the true one is ``rate`` (Rogan & Gladen 1978)."""
    for name, share in (("sensitivity", sensitivity), ("specificity", specificity)):
        if not 0 < share <= 1:
            raise ValueError(f"{name} = {share:g} must be above 0 and at most 1")
    if sensitivity + specificity <= 1:
        raise ValueError(
            f"sensitivity {sensitivity:g} and specificity {specificity:g} sum to no more than 1: such a judge is no "
            "better than a coin; take another one"
        )
    return rate * sensitivity + (1 - rate) * (1 - specificity)
