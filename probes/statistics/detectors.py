"""Shiryaev-Roberts e-detectors: alarms for a change that may come at any time.

Shin, Ramdas & Rinaldo (arXiv 2203.03532): R_t - t is a supermartingale while no stratum is above its p0, so the
mean number of probes to a false alarm at threshold gamma is at least gamma, and the chance of one within n
probes of a reset is at most n / gamma, for any predictable choice of stratum and without division by their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from probes.statistics.evalues import tilted_grid

__all__ = ["ShiryaevRobertsEDetector", "StratifiedEDetector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiryaevRobertsEDetector:
    """Mixture SR e-detector of one stratum: M_j <- (M_j + 1) LR_j(x), R = sum_j w_j M_j.

    Attributes:
        log_m: log M_j for each alternative; minus infinity at the start.
    """

    p0: float
    p1: float
    log_m: tuple[float, float, float] = (-math.inf, -math.inf, -math.inf)

    def __post_init__(self) -> None:
        """Refuse rates in the wrong order."""
        if not 0 < self.p0 < self.p1 < 1:
            raise ValueError(f"need 0 < p0 < p1 < 1, got p0 = {self.p0}, p1 = {self.p1}")

    def update(self, success: bool) -> ShiryaevRobertsEDetector:
        """Return the state after one more probe of this stratum."""
        q, _ = tilted_grid(self.p1)
        a, b, c = (
            _log1p_exp(m) + math.log(qj / self.p0 if success else (1 - qj) / (1 - self.p0))
            for m, qj in zip(self.log_m, q, strict=True)
        )
        return replace(self, log_m=(a, b, c))

    @property
    def log_r(self) -> float:
        """Natural log of the detector's statistic."""
        _, w = tilted_grid(self.p1)
        return _logsumexp([math.log(wj) + m for wj, m in zip(w, self.log_m, strict=True)])


@dataclass(frozen=True, slots=True, kw_only=True)
class StratifiedEDetector:
    """One detector for each stratum on its own probe clock, summed: no Bonferroni, any allocation."""

    p0: float
    p1: float
    strata: Mapping[str, ShiryaevRobertsEDetector] = field(default_factory=dict)
    n: int = 0

    def update(self, stratum: str, success: bool) -> StratifiedEDetector:
        """Return the state after a probe of this stratum; the other strata stay as they are."""
        old = self.strata.get(stratum) or ShiryaevRobertsEDetector(p0=self.p0, p1=self.p1)
        return replace(self, strata={**self.strata, stratum: old.update(success)}, n=self.n + 1)

    @property
    def log_r(self) -> float:
        """Natural log of the summed statistic; minus infinity before the first probe."""
        return _logsumexp([d.log_r for d in self.strata.values()])

    def drifted(self, gamma: float) -> tuple[str, ...]:
        """Name the strata that drifted, by e-BH at threshold gamma (arXiv 2501.04130), largest evidence first."""
        ranked = sorted(self.strata, key=lambda s: self.strata[s].log_r, reverse=True)
        count = 0
        for k, name in enumerate(ranked, 1):
            if self.strata[name].log_r >= math.log(len(ranked) * gamma / k):
                count = k
        return tuple(ranked[:count])


def _log1p_exp(x: float) -> float:
    """log(1 + e^x) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x))) if x != -math.inf else 0.0


def _logsumexp(values: list[float]) -> float:
    top = max(values, default=-math.inf)
    return top if top == -math.inf else top + math.log(sum(math.exp(v - top) for v in values))
