"""Which stratum the next probe asks, and the rate that remains unbiased when evidence chose it.

Half of the probes survey the suite by its shares, the other half hunt where the evidence is largest. A choice made
before the reply, from the past alone, leaves every e-process and e-detector valid; the probability it was made with is
logged beside the probe, for Horvitz & Thompson (Journal of the American Statistical Association 1952).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["EpsilonGreedyAllocator", "HorvitzThompson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonGreedyAllocator:
    """Surveys with a share epsilon of the probes and spends the rest on the stratum of largest evidence.

    pi(k) = epsilon v_k + (1 - epsilon) [k = argmax log R_k] once some log R_k is above 0, pi = v before.

    Attributes:
        shares: v_k of each stratum in the suite, above 0, with sum 1. Their order settles ties.
        epsilon: Part of the probes that surveys, in (0, 1]; 1 hunts nothing.
    """

    shares: Mapping[str, float]
    epsilon: float = 0.5

    def __post_init__(self) -> None:
        """Refuse shares that make no distribution, or that leave a stratum unasked."""
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon = {self.epsilon} must lie in (0, 1]: some probes must survey")
        for name, share in self.shares.items():
            if not 0 < share <= 1:
                raise ValueError(f"share {share} of stratum {name!r} must lie in (0, 1]; leave out strata without any")
        if not self.shares or not math.isclose(math.fsum(self.shares.values()), 1.0, abs_tol=1e-9):
            raise ValueError(f"shares must sum to 1, not {math.fsum(self.shares.values())}: divide each by the sum")

    def probabilities(self, log_r: Mapping[str, float]) -> dict[str, float]:
        """Return pi, the probability of each stratum for the next probe.

        Args:
            log_r: Log evidence of the strata so far; one that is not there has none.

        Returns:
            pi(k) of each stratum in the order of ``shares``, above 0, with sum 1.

        Raises:
            ValueError: Evidence is not a number, is infinite, or belongs to no stratum with a share.
        """
        for name, value in log_r.items():
            if name not in self.shares:
                raise ValueError(f"evidence of stratum {name!r}, which has no share: give it one or leave it out")
            if not value < math.inf:
                raise ValueError(f"log evidence {value} of stratum {name!r} must be a number below infinity")
        most = max(self.shares, key=lambda name: log_r.get(name, -math.inf))
        if not log_r.get(most, -math.inf) > 0:
            return dict(self.shares)
        hunted = 1 - self.epsilon
        return {name: self.epsilon * share + hunted * (name == most) for name, share in self.shares.items()}

    def deal(self, log_r: Mapping[str, float], surveyed: Mapping[str, int], uniform: float) -> tuple[str, bool]:
        """Choose the next stratum, the survey's in turn instead of by lot: no stratum waits longer than it must.

        By lot, the one stratum in K that has drifted is met after K probes of the survey in mean, in turn after K / 2.
        The choice depends on the past alone, so detectors of strata keep their guarantee; the survey's mean is that of
        the suite to within one round.

        Args:
            log_r: As for ``probabilities``.
            surveyed: Probes of the survey so far, by stratum.
            uniform: A draw from [0, 1): below epsilon surveys, the rest hunts where there is evidence.

        Returns:
            The stratum, and whether the survey chose it.
        """
        if not 0 <= uniform < 1:
            raise ValueError(f"uniform = {uniform} must lie in [0, 1)")
        if uniform >= self.epsilon:
            chances = self.probabilities(log_r)
            if chances != self.shares:
                return max(chances, key=lambda name: chances[name] - self.epsilon * self.shares[name]), False
        return self.overdue(surveyed), True

    def overdue(self, surveyed: Mapping[str, int]) -> str:
        """Return whose turn it is in a survey that is dealt by the shares: the largest v_k (m + 1) - m_k."""
        due = sum(surveyed.values()) + 1
        return max(self.shares, key=lambda name: self.shares[name] * due - surveyed.get(name, 0))

    @staticmethod
    def choose(probabilities: Mapping[str, float], uniform: float) -> str:
        """Draw a stratum by inverting the distribution function at ``uniform``, a draw from [0, 1)."""
        if not 0 <= uniform < 1:
            raise ValueError(f"uniform = {uniform} must lie in [0, 1)")
        if not math.isclose(math.fsum(probabilities.values()), 1.0, abs_tol=1e-9):
            raise ValueError(f"probabilities sum to {math.fsum(probabilities.values())}, not to 1")
        below, chosen = 0.0, ""
        for name, probability in probabilities.items():
            if not probability >= 0:
                raise ValueError(f"probability {probability} of stratum {name!r} must not be negative")
            below += probability
            chosen = name if probability else chosen
            if uniform < below:
                break
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class HorvitzThompson:
    """Unbiased estimate of the suite's rate from probes whose strata were drawn with logged probabilities.

    (1/n) sum_t v(k_t) / pi_t(k_t) x_t. Its mean is sum_k v_k E[x | k] for any pi_t > 0 that the past determines.
    Under epsilon-greedy with the suite's shares no weight exceeds 1 / epsilon. Missing probes are left out before they
    get here, which is unbiased only if what went missing does not depend on the outcome. The standard error treats the
    terms as uncorrelated, which they are about a rate that stays; it is for a look at a finished sweep. To watch,
    bound the terms v / pi x with ``BettingConfidenceSequence(upper=1 / epsilon)``.
    """

    n: int = 0
    total: float = 0.0
    total_sq: float = 0.0

    def update(self, x: float, share: float, probability: float) -> HorvitzThompson:
        """Return the state after one more probe.

        Args:
            x: Outcome, at least 0.
            share: v of its stratum in the suite.
            probability: pi of its stratum when it was drawn.
        """
        if not 0 <= x < math.inf:
            raise ValueError(f"outcome {x} must be a number of at least 0; leave missing probes out")
        for name, value in (("share", share), ("probability", probability)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} = {value} must lie in (0, 1]")
        term = share / probability * x
        return HorvitzThompson(n=self.n + 1, total=self.total + term, total_sq=self.total_sq + term * term)

    @property
    def value(self) -> float | None:
        """The estimate; ``None`` before the first probe. It may exceed 1 while probes are few."""
        return self.total / self.n if self.n else None

    @property
    def standard_error(self) -> float | None:
        """Standard error of the estimate, from the spread of its terms; ``None`` before the second probe."""
        if self.n < 2:
            return None
        spread = max(0.0, self.total_sq - self.total * self.total / self.n)
        return math.sqrt(spread / (self.n - 1) / self.n)
