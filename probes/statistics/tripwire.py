"""A cheap sign that a served model changed, such as a shift of one token's log-probability.

Such scores see a single step of fine-tuning at a thousandth of a sweep's cost (arXiv 2512.03816), and say nothing of
safety: a tripwire may raise the rate of probing and nothing else. It is never evidence for a breach.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

from probes.statistics.logs import log1p_exp, log_sum_exp

__all__ = ["Tripwire"]

_POWERS = (0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripwire:
    """Conformal Shiryaev-Roberts e-detector over scores; a larger score is odder.

    p = share of the reference, the scores so far and the new one that is at least as odd; e = k p^(k - 1), an e-value
    for each power k in (0, 1) (Vovk & Wang, Annals of Statistics 2021); M_k <- (M_k + 1) e, R = mean_k M_k. As long as
    the scores are exchangeable with the reference, the mean number of scores to a false alarm is at least gamma.

    The scores so far count with the reference: p-values against a reference that stays as it is depend on each other
    through its sampling error, and an unlucky one alarms whatever gamma. Scores are kept as counts between the
    reference's values, and all in the new score's place count as at least as odd. This, like ties, only raises p: with
    U uniform, p is at least the smoothed (odder + U tied) / n, whose values are independent and uniform, so R is at
    most the R of those and the guarantee holds without random numbers.

    Attributes:
        reference: Scores of the model known to be good, finite, at least 10.
        gamma: Mean number of scores to a false alarm, above 1.
        counts: Scores so far up to the smallest reference value, then above each value up to the next.
        log_m: log M_k of each power.
    """

    reference: tuple[float, ...]
    gamma: float = 1e4
    counts: tuple[int, ...] = ()
    log_m: tuple[float, ...] = (-math.inf,) * len(_POWERS)

    def __post_init__(self) -> None:
        """Refuse references too small to find anything odd, and sort the rest."""
        if not 1 < self.gamma < math.inf:
            raise ValueError(f"gamma = {self.gamma} must be a number above 1")
        if self.counts:
            return
        if len(self.reference) < 10:
            raise ValueError(f"{len(self.reference)} reference scores tell nothing odd; give at least 10, better 200")
        if not all(math.isfinite(score) for score in self.reference):
            raise ValueError("reference scores must be finite numbers; leave missing ones out")
        object.__setattr__(self, "reference", tuple(sorted(self.reference)))
        object.__setattr__(self, "counts", (0,) * (len(self.reference) + 1))

    def update(self, score: float) -> Tripwire:
        """Return the state after one more score; missing ones are left out."""
        if not math.isfinite(score):
            raise ValueError(f"score {score} must be a finite number; leave missing scores out")
        place = bisect_left(self.reference, score)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        odder = len(self.reference) - place + sum(counts[place:])
        log_p = math.log(odder / (len(self.reference) + sum(counts)))
        log_m = tuple(log1p_exp(m) + math.log(k) + (k - 1) * log_p for m, k in zip(self.log_m, _POWERS, strict=True))
        return replace(self, counts=counts, log_m=log_m)

    @property
    def log_r(self) -> float:
        """Natural log of the detector's statistic; minus infinity before the first score."""
        return log_sum_exp(self.log_m) - math.log(len(self.log_m))

    @property
    def tripped(self) -> bool:
        """Whether the evidence reached gamma: probe faster. It does not say that anything is unsafe."""
        return self.log_r >= math.log(self.gamma)
