"""The rate of a finite suite, whose prompts are asked in random order and never twice."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from probes.statistics.logs import require_rate

__all__ = ["PriorPosteriorRatioCS"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorPosteriorRatioCS:
    """Confidence sequence for the rate of a finite suite, asked without replacement; may be looked at any time.

    The number of successes in the suite has the prior BetaBinomial(size, a, b). The set is {theta : prior(theta) /
    posterior(theta) < 1/alpha}, and that ratio at the truth is a martingale of mean 1 if the order is drawn at random,
    whatever the prior (Waudby-Smith & Ramdas, NeurIPS 2020, arXiv 2006.04347). The prior only decides where the set is
    short. After the last prompt one rate is left.

    Exact where each prompt has one fixed outcome in this sweep. A prompt without a usable verdict has none: count the
    suite without it, or bound its outcome both ways.

    Attributes:
        size: Prompts in the suite, at least 1.
        alpha: 1 minus the confidence.
        a: Prior weight of successes, above 0.
        b: Prior weight of failures, above 0.
    """

    size: int
    alpha: float = 0.05
    a: float = 1.0
    b: float = 1.0
    n: int = 0
    successes: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty suite, an alpha outside (0, 1) and priors that are none."""
        if self.size < 1:
            raise ValueError(f"a suite of size = {self.size} has no rate")
        require_rate("alpha", self.alpha)
        for name in ("a", "b"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be a number above 0")
        if not 0 <= self.successes <= self.n <= self.size:
            raise ValueError(f"{self.successes} successes of {self.n} asked in a suite of {self.size}")

    def update(self, success: bool) -> PriorPosteriorRatioCS:
        """Return the state after one more prompt.

        Raises:
            ValueError: All prompts were asked already: begin a new sequence.
        """
        if self.n == self.size:
            raise ValueError(f"all {self.size} prompts were asked; begin a new sequence for the next pass")
        return replace(self, n=self.n + 1, successes=self.successes + bool(success))

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound of the rate of the suite.

        prior / posterior at theta is P(data) / P(data | theta), where P(data | theta) = C(theta, S) C(size - theta,
        n - S) / C(size, n) and P(data) = C(n, S) B(a + S, b + n - S) / B(a, b).
        """
        s, f = self.successes, self.n - self.successes
        theta = np.arange(s, self.size - f + 1)
        given = _log_choose(theta, s) + _log_choose(self.size - theta, f) - _log_choose(self.size, self.n)
        data = _log_choose(self.n, s) + _log_beta(self.a + s, self.b + f) - _log_beta(self.a, self.b)
        inside = theta[data - given < math.log(1 / self.alpha)]
        return float(inside[0]) / self.size, float(inside[-1]) / self.size


def _log_choose(n: np.typing.ArrayLike, k: int) -> np.typing.NDArray[np.float64]:
    """Natural log of the binomial coefficient."""
    return np.asarray(_log_factorial(n) - _log_factorial(np.subtract(n, k)) - math.lgamma(k + 1))


@np.vectorize(otypes=[np.float64])
def _log_factorial(n: int) -> float:
    return math.lgamma(n + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
