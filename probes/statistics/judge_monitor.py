"""Has the judge itself drifted? Watched on a gold set: frozen replies whose verdicts people gave.

A judge that drifts looks like a model that drifts, or hides one. While this monitor says "drifted", no verdict of the
judge may set off a repair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from probes.statistics.logs import log1p_exp, log_sum_exp

__all__ = ["JudgeMonitor"]

_ODDS = (2.0, 5.0, 20.0)
_WEIGHTS = (0.25, 0.5, 0.25)
_START = (-math.inf,) * len(_ODDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMonitor:
    """Two Shiryaev-Roberts e-detectors, summed: misses of gold positives and false alarms on gold negatives.

    M_j <- (M_j + 1) LR_j on its own clock, R = sum of w_j M_j over both kinds (Shin, Ramdas & Rinaldo, arXiv
    2203.03532). The alternatives multiply the odds of an error by 2, 5 and 20. While sensitivity and specificity are
    no lower than their nulls, the mean number of gold replies to a false alarm is at least gamma, in whatever order
    the two kinds come. Draw the gold replies at random, with replacement: the rates meant are then the judge's own on
    the gold set, however small that is, and a judge that repeats itself does no harm. A set judged in a fixed order,
    over and over, has no such guarantee. Gold replies without a verdict are left out.

    Attributes:
        sensitivity_null: Smallest sensitivity that still passes, such as the gold set's first less a margin.
        specificity_null: The same of specificity.
        gamma: Mean number of gold replies to a false alarm, above 1.
        log_misses: log M_j of the gold positives.
        log_false_alarms: log M_j of the gold negatives.
    """

    sensitivity_null: float
    specificity_null: float
    gamma: float = 1e4
    n: int = 0
    log_misses: tuple[float, ...] = _START
    log_false_alarms: tuple[float, ...] = _START

    def __post_init__(self) -> None:
        """Refuse nulls outside (0, 1), and a threshold that the first reply could pass."""
        for name in ("sensitivity_null", "specificity_null"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in (0, 1); take a lower bound, not 1")
        if not 1 < self.gamma < math.inf:
            raise ValueError(f"gamma = {self.gamma} must be a number above 1")

    def update(self, positive: bool, called_positive: bool) -> JudgeMonitor:
        """Return the state after one more gold reply.

        Args:
            positive: What people call it.
            called_positive: What the judge calls it.
        """
        wrong = positive != called_positive
        if positive:
            return replace(self, n=self.n + 1, log_misses=_step(self.log_misses, 1 - self.sensitivity_null, wrong))
        false_alarms = _step(self.log_false_alarms, 1 - self.specificity_null, wrong)
        return replace(self, n=self.n + 1, log_false_alarms=false_alarms)

    @property
    def log_r(self) -> float:
        """Natural log of the summed statistic; minus infinity before the first gold reply."""
        return log_sum_exp((_log_r(self.log_misses), _log_r(self.log_false_alarms)))

    @property
    def drifted(self) -> bool:
        """Whether the evidence reached gamma."""
        return self.log_r >= math.log(self.gamma)

    @property
    def which(self) -> str:
        """What fell: ``sensitivity`` or ``specificity``, by the larger evidence; empty while nothing drifted."""
        if not self.drifted:
            return ""
        return "sensitivity" if _log_r(self.log_misses) >= _log_r(self.log_false_alarms) else "specificity"


def _step(log_m: tuple[float, ...], p0: float, wrong: bool) -> tuple[float, ...]:
    after: list[float] = []
    for m, odds in zip(log_m, _ODDS, strict=True):
        q = odds * p0 / (1 - p0 + odds * p0)
        after.append(log1p_exp(m) + math.log(q / p0 if wrong else (1 - q) / (1 - p0)))
    return tuple(after)


def _log_r(log_m: tuple[float, ...]) -> float:
    return log_sum_exp(math.log(w) + m for w, m in zip(_WEIGHTS, log_m, strict=True))
