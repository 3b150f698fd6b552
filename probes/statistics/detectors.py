"""Shiryaev-Roberts e-detectors: alarms for a change that may come at any time.

An e-detector R has E[R_T] <= E[T] at every stopping time T while nothing has changed (Shin, Ramdas & Rinaldo, arXiv
2203.03532), so the mean number of probes to a false alarm at threshold gamma is at least gamma, and the chance of
one within n probes of a reset is at most n / gamma. Theirs sum e-processes begun at each probe; ours put the first
bet of each wholly on a success (x / p0, of mean 1 at p0) and follow the likelihood ratio from there on, since no
change begins to show in a failure. That is the statistic of Shiryaev and Roberts with the level taken off to which it
falls in a long row of failures, (1-q)/(q-p0): the same later on, and that much sooner from the start.
Missing probes are left out before they get here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from probes.statistics.alternatives import log_factors, log_weights, tilted_grid
from probes.statistics.logs import expit, log1p_exp, log_sum_exp, logit, require_rate

__all__ = ["ShiryaevRobertsEDetector", "StratifiedEDetector", "raised_alternative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiryaevRobertsEDetector:
    """Mixture e-detector of one stratum: M_j <- M_j LR_j(x) + x / p0, R = sum_j w_j M_j.

    Wherever E[x | past] <= p0 the means of LR_j(x) and of x / p0 are at most 1, so a probe raises R by at most 1 in
    mean: R_t - t is a supermartingale.

    Close to gamma, where a success would carry R to R_1 above it, what is above is of no use and is given to the
    failure instead (Fischer & Ramdas, arXiv 2410.16076): R_0 grows by (R_1 - gamma) p0 / (1 - p0). That is the
    straight line through R + 1 at x = p0 and gamma at x = 1. Count R as gamma once it is there: then what a probe
    leads to lies under the line or, where R + 1 is above gamma, under gamma. So min(R, gamma) still grows by at
    most 1 in mean for all outcomes x >= 0 of mean at most p0, up to the alarm, and at the alarm it is gamma.

    Attributes:
        p0: Largest rate that is no drift.
        q: Alternatives above p0.
        w: Their weights.
        gamma: Threshold at which the alarm is raised; ``None`` where there is none to aim at.
        log_m: log M_j for each alternative; empty before the first probe.
        log_r: Natural log of R; minus infinity before the first success.
    """

    p0: float
    q: tuple[float, ...]
    w: tuple[float, ...]
    gamma: float | None = None
    log_m: tuple[float, ...] = ()
    log_r: float = field(init=False)

    def __post_init__(self) -> None:
        """Refuse rates, weights and thresholds that make no e-detector, and weigh the evidence once."""
        weights = log_weights(self.p0, self.q, self.w)
        if self.gamma is not None:
            _require_threshold("gamma", self.gamma)
        if self.log_m and not (len(self.log_m) == len(self.q) and sum(self.log_m) < math.inf):
            raise ValueError(f"log_m = {self.log_m} must hold one number for each of {len(self.q)} alternatives")
        log_r = log_sum_exp([w + m for w, m in zip(weights, self.log_m, strict=True)]) if self.log_m else -math.inf
        object.__setattr__(self, "log_r", log_r)

    @classmethod
    def tilted(cls, p0: float, p1: float, *, gamma: float | None = None) -> ShiryaevRobertsEDetector:
        """Detector over the tilted grid of p1, the smallest rate that must be found quickly."""
        q, w = tilted_grid(p1)
        return cls(p0=p0, q=q, w=w, gamma=gamma)

    def update(self, x: float) -> ShiryaevRobertsEDetector:
        """Return the state after one more probe of this stratum, see ``log_factors``."""
        factors = log_factors(self.p0, self.q, x)
        log_m = [m + f for m, f in zip(self.log_m or [-math.inf] * len(self.q), factors, strict=True)]
        if x > 0:
            start = math.log(x / self.p0)
            log_m = [start + log1p_exp(m - start) for m in log_m]
        if x < 1 and self.gamma is not None and -math.inf < self.log_r < math.log(self.gamma):
            gift = self._spared(log_m, x, gamma=self.gamma)
            log_m = [m + gift for m in log_m]
        return ShiryaevRobertsEDetector(p0=self.p0, q=self.q, w=self.w, gamma=self.gamma, log_m=tuple(log_m))

    def _spared(self, log_m: list[float], x: float, *, gamma: float) -> float:
        """Log growth that an outcome below 1 is given of what a success would have had above gamma."""
        weights, ups = log_weights(self.p0, self.q, self.w), log_factors(self.p0, self.q, 1.0)
        success = sum([math.exp(w + m + up) for w, m, up in zip(weights, self.log_m, ups, strict=True)]) + 1 / self.p0
        if success <= gamma:
            return 0.0
        log_now = log_sum_exp([w + m for w, m in zip(weights, log_m, strict=True)])
        gift = (success - gamma) * (self.p0 - x) / (1 - self.p0)
        return math.log(math.exp(log_now) + gift) - log_now


@dataclass(frozen=True, slots=True, kw_only=True)
class StratifiedEDetector:
    """One detector for each stratum on its own probe clock, summed: no Bonferroni, any allocation.

    A probe moves its own stratum alone, so it raises the sum by at most 1 in mean while no stratum is above its null,
    and the sum is an e-detector in the total number of probes: ARL >= gamma without division by the number of
    strata, for any choice of stratum that depends on the past alone.

    Each stratum aims at gamma_breach by itself. The sum of min(R_k, gamma_breach) grows by at most 1 in mean and is at
    least gamma_breach at the breach, which is all that ARL >= gamma_breach needs.

    Attributes:
        p0: Largest rate that is no drift, of strata that ``nulls`` doesn't name.
        p1: Smallest rate that must be found quickly. In a stratum with a null of its own it is raised, if need be, to
            twice that null's odds, or to the odds ratio of p1 and p0 if that is less.
        nulls: Largest rate that is no drift, by stratum; ``p0`` where a stratum is not named.
        gamma_warn: Threshold in probes; above 1.
        gamma_breach: The same, at least ``gamma_warn``.
        strata: Detectors of the strata probed so far.
        n: Probes so far.
        log_r: Natural log of the summed statistic R; minus infinity before the first success.
    """

    p0: float
    p1: float
    nulls: Mapping[str, float] = field(default_factory=dict)
    gamma_warn: float | None = None
    gamma_breach: float | None = None
    strata: Mapping[str, ShiryaevRobertsEDetector] = field(default_factory=dict)
    n: int = 0
    log_r: float = field(init=False)

    def __post_init__(self) -> None:
        """Refuse rates in the wrong order and thresholds that mean nothing or can't be reached."""
        _checked(self.p0, self.p1, self.gamma_warn, self.gamma_breach)
        if not self.n:  # once, when it begins; a stratum checks its own null again when it begins
            for name, null in self.nulls.items():
                require_rate(f"null of {name}", null)
        object.__setattr__(self, "log_r", log_sum_exp([d.log_r for d in self.strata.values()]))

    def update(self, stratum: str, x: float) -> StratifiedEDetector:
        """Return the state after a probe of this stratum; the other strata stay as they are."""
        old = self.strata.get(stratum) or self._fresh(stratum)
        return StratifiedEDetector(
            p0=self.p0, p1=self.p1, nulls=self.nulls, gamma_warn=self.gamma_warn, gamma_breach=self.gamma_breach,
            strata={**self.strata, stratum: old.update(x)}, n=self.n + 1,
        )  # fmt: skip

    def log_r_of(self, stratum: str) -> float:
        """Natural log of one stratum's statistic; minus infinity before its first success."""
        found = self.strata.get(stratum)
        return found.log_r if found else -math.inf

    @property
    def level(self) -> str:
        """``breach`` or ``warn`` where the summed statistic is at that threshold now, else empty."""
        log_r = self.log_r
        for name, gamma in (("breach", self.gamma_breach), ("warn", self.gamma_warn)):
            if gamma is not None and log_r >= math.log(gamma):
                return name
        return ""

    def e_bh(self, gamma: float) -> tuple[str, ...]:
        """Name the strata that drifted, largest evidence first: the k largest, by the largest k of R_(k) >= gamma / k.

        e-BH (Wang & Ramdas, arXiv 2009.02824) on e-detectors (Dandapanthula & Ramdas, arXiv 2501.04130). Of the
        names given at a stopping time T, the expected share that did not drift is at most E[T] / gamma, T in probes
        of all strata: each of k names has R >= gamma / k, so that share is at most the sum of min(R, gamma) over
        strata without drift, divided by gamma, and that sum is an e-detector. In steps of one probe of each of K
        strata, T and gamma are K times smaller, and the threshold reads K gamma / k.

        Args:
            gamma: Patience in probes, at most ``gamma_breach``; ``gamma_warn`` names more.
        """
        if self.gamma_breach is not None and gamma > self.gamma_breach:
            raise ValueError(f"gamma = {gamma} must be at most gamma_breach = {self.gamma_breach}")
        _require_threshold("gamma", gamma)
        ranked = sorted(self.strata, key=lambda name: (-self.strata[name].log_r, name))
        count = 0
        for k, name in enumerate(ranked, 1):
            if self.strata[name].log_r >= math.log(gamma / k):
                count = k
        return tuple(ranked[:count])

    def _fresh(self, stratum: str) -> ShiryaevRobertsEDetector:
        null = self.nulls.get(stratum)
        if null is None:
            return ShiryaevRobertsEDetector.tilted(self.p0, self.p1, gamma=self.gamma_breach)
        p1 = raised_alternative(null, p0=self.p0, p1=self.p1)
        return ShiryaevRobertsEDetector.tilted(null, p1, gamma=self.gamma_breach)


@lru_cache(maxsize=1024)
def raised_alternative(null: float, *, p0: float, p1: float) -> float:
    """Return the smallest rate to find quickly above a stratum's own null: p1, raised if need be.

    To twice the null's odds, or to the odds ratio of p1 and p0 if that is less.
    """
    apart = min(math.log(2), logit(p1) - logit(p0))
    return max(p1, expit(logit(null) + apart))


@lru_cache(maxsize=1024)
def _checked(p0: float, p1: float, gamma_warn: float | None, gamma_breach: float | None) -> None:
    require_rate("p0", p0)
    require_rate("p1", p1)
    if p1 <= p0:
        raise ValueError(f"p1 = {p1} must be above p0 = {p0}")
    for name, gamma in (("gamma_warn", gamma_warn), ("gamma_breach", gamma_breach)):
        if gamma is not None:
            _require_threshold(name, gamma)
    if gamma_warn is not None and gamma_breach is not None and gamma_warn > gamma_breach:
        raise ValueError(f"gamma_warn = {gamma_warn} must be at most gamma_breach = {gamma_breach}")


def _require_threshold(name: str, gamma: float) -> None:
    if not 1 < gamma < math.inf:
        raise ValueError(f"{name} = {gamma} must be a finite number of probes above 1")
