"""What a judge's own error does to a rate, by a calibration against human labels.

A judge of sensitivity Se and specificity Sp reports p = theta Se + (1 - theta)(1 - Sp) where the true rate is theta
(Rogan & Gladen 1978: solve for theta). Se and Sp are estimates too, and an interval that takes them for known is too
short; ``RoganGladen.estimate`` carries their error (Lee et al., arXiv 2511.21140).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from probes.statistics.confidence import clopper_pearson

__all__ = ["AIPWJudgeCascade", "RoganGladen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoganGladen:
    """Corrects rates for a judge's error.

    Old labels do: Se and Sp survive a change of the rate. They don't survive a change of the judge or of the kind of
    reply.

    Attributes:
        positives: Replies that people call harmful (m1).
        found: How many of them the judge calls harmful; Se = found / positives.
        negatives: Replies that people call safe (m0).
        passed: How many of them the judge calls safe; Sp = passed / negatives.
    """

    positives: int
    found: int
    negatives: int
    passed: int

    def __post_init__(self) -> None:
        """Refuse counts that can't be."""
        if not (0 <= self.found <= self.positives and 0 <= self.passed <= self.negatives):
            raise ValueError(
                f"{self.found} of {self.positives} found, {self.passed} of {self.negatives} passed: "
                "a part can't be larger than its whole"
            )

    def bounds(self, alpha: float) -> tuple[float, float, float, float]:
        """Bound Se and Sp by Clopper-Pearson, alpha / 2 on each of the four sides.

        Returns:
            Lower and upper bound of Se, then of Sp; (0, 1) where there are no labels.
        """
        return (
            *clopper_pearson(self.found, self.positives, alpha=alpha),
            *clopper_pearson(self.passed, self.negatives, alpha=alpha),
        )

    def informative(self, *, alpha: float = 0.05) -> bool:
        """Tell whether the judge provably does better than a coin: lower bounds of Se and Sp sum to more than 1."""
        se_lower, _, sp_lower, _ = self.bounds(alpha)
        return se_lower + sp_lower > 1

    def estimate(self, harmful: int, n: int, *, confidence: float = 0.95) -> tuple[float, float, float]:
        """Estimate the true rate behind ``harmful`` of ``n`` verdicts of a finished sweep.

        Interval of Lee et al.: each rate is shrunk (z^2 / 2 to either side of p, 1 to either side of Se and Sp), the
        variance is the delta method's at the shrunk rates, the middle is moved by the bias of the ratio. Coverage at
        Se .9, Sp .98, 200 probes: .97, .96, .95 at a true rate of .01, .05, .2 with 100 + 300 labels.

        Args:
            harmful: Verdicts "harmful", 0 to n.
            n: Scored probes, at least 1.

        Returns:
            Value, lower and upper bound, each in [0, 1].

        Raises:
            ValueError: The judge can't be told from a coin, so nothing can be corrected by it.
        """
        if not 0 <= harmful <= n or n == 0:
            raise ValueError(f"{harmful} of {n} probes harmful: give the scored probes of a sweep")
        se_lower, _, sp_lower, _ = self.bounds(0.05)
        _require_informative(se_lower, sp_lower)
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        size, m1, m0 = n + z * z, self.positives + 2, self.negatives + 2
        p, se, sp = (harmful + z * z / 2) / size, (self.found + 1) / m1, (self.passed + 1) / m0
        youden = se + sp - 1
        theta = (p + sp - 1) / youden
        of_sp, of_se = sp * (1 - sp) / m0, se * (1 - se) / m1
        shift = 2 * z * z * (theta * of_se - (1 - theta) * of_sp)
        half = z * math.sqrt(p * (1 - p) / size + (1 - theta) ** 2 * of_sp + theta**2 * of_se) / youden
        value = self._correct(harmful / n)
        lower, upper = _clip(theta + shift - half), _clip(theta + shift + half)
        return value, min(lower, value), max(upper, value)

    def anytime(self, lower: float, upper: float, *, alpha: float = 0.02) -> tuple[float, float]:
        """Correct an interval that may be looked at any time, such as ``SubBernoulliConfidenceSequence.interval``.

        The true rate lies in it with at least the interval's own confidence less 2 alpha: Se and Sp are bounded once,
        by Clopper-Pearson at alpha each.

        Args:
            lower: Lower bound of the judge's rate.
            upper: Upper bound of the judge's rate.

        Returns:
            Lower and upper bound of the true rate, in [0, 1].

        Raises:
            ValueError: As for ``estimate``.
        """
        se_lower, se_upper, sp_lower, sp_upper = self.bounds(alpha)
        _require_informative(se_lower, sp_lower)
        return _clip((lower - 1 + sp_lower) / (se_upper + sp_lower - 1)), _clip(
            (upper - 1 + sp_upper) / (se_lower + sp_upper - 1)
        )

    def null(self, theta: float, *, delta: float = 1e-3) -> float:
        """Return the judge's rate that a true rate of at most ``theta`` can't exceed, for a trigger on raw verdicts.

        theta Se_U + (1 - theta)(1 - Sp_L), one-sided Clopper-Pearson bounds at delta / 2 each: a test of this null
        keeps its false alarms unless the bounds fail, which has a chance of at most delta. It costs probes: 300
        negatives at Sp .98 raise a null of .02 to .06. Label 1,500, or let a cascade judge the positives again.
        """
        if not 0 <= theta <= 1:
            raise ValueError(f"theta = {theta} must lie in [0, 1]")
        _, se_upper, sp_lower, _ = self.bounds(delta)
        return max(theta * se_upper + (1 - theta) * (1 - sp_lower), 1 - sp_lower)

    def least(self, theta: float, *, delta: float = 1e-3) -> float:
        """Return the judge's rate that a true rate of at least ``theta`` can't fall below, for a test that accepts.

        min(theta Se_L + (1 - theta)(1 - Sp_U), Se_L), one-sided Clopper-Pearson bounds at delta / 2 each: what is
        proved to be under it is truly under ``theta``, unless the bounds fail, which has a chance of at most delta.
        """
        if not 0 <= theta <= 1:
            raise ValueError(f"theta = {theta} must lie in [0, 1]")
        se_lower, _, _, sp_upper = self.bounds(delta)
        return min(theta * se_lower + (1 - theta) * (1 - sp_upper), se_lower)

    def _correct(self, rate: float) -> float:
        se = self.found / self.positives
        sp = self.passed / self.negatives
        return _clip((rate + sp - 1) / (se + sp - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class AIPWJudgeCascade:
    """Outcomes of a cascade of judges that are right on average, whatever the cheap judge's error.

    The cheap judge f sees all replies. The strong judge Y sees all that f calls harmful, and of the others a share rho
    drawn before judging. phi = f + (R / pi)(Y - f) in {0, 1, 1/rho}, R whether Y was asked and pi its chance, has the
    mean P(Y harmful) given the past and is never negative (augmented inverse probability weighting; for e-values,
    Csillag et al., ICML 2025, arXiv 2502.04294). So 1 + l (phi - p0) with l in [0, 1/p0) is an exact factor of an
    e-process, and ``BettingEProcess``, ``HorvitzThompson`` and the e-detectors take phi as they take an outcome.

    A reply whose verdicts are not all there is missing: leave it out.

    Attributes:
        rho: Chance that the strong judge sees a reply that the cheap one passes, in (0, 1]. A small one saves calls and
            costs spread: 1/rho is the largest outcome.
    """

    rho: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a cascade that never looks at what the cheap judge passes."""
        if not 0 < self.rho <= 1:
            raise ValueError(f"rho = {self.rho} must lie in (0, 1]: harm that nobody looks for can't be estimated")

    def phi(self, cheap: bool, strong: bool | None, asked: bool) -> float:
        """Return the outcome of one reply.

        Args:
            cheap: Whether the cheap judge calls it harmful.
            strong: Whether the strong judge does; ``None`` where it was not asked.
            asked: Whether it was asked: always where ``cheap`` is true, else with chance rho.

        Raises:
            ValueError: The strong judge's verdict is missing, or there is one that was not asked for.
        """
        if asked and strong is None:
            raise ValueError("the strong judge was asked and gave no verdict: the reply is missing, leave it out")
        if not asked and (cheap or strong is not None):
            raise ValueError(
                "the strong judge must be asked about all that the cheap one calls harmful, and counts "
                "only where it was asked"
            )
        if cheap:
            return float(bool(strong))
        return 1 / self.rho if strong else 0.0


def _require_informative(se_lower: float, sp_lower: float) -> None:
    if se_lower + sp_lower <= 1:
        raise ValueError(
            f"sensitivity may be as low as {se_lower:.3f} and specificity as low as {sp_lower:.3f}: "
            "the judge can't be told from a coin; label more replies or take another judge"
        )


def _clip(rate: float) -> float:
    return min(1.0, max(0.0, rate))
