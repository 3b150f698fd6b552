"""One-sided mixture e-processes for a Bernoulli rate and the tests built on them.

An e-process E has E[E_tau] <= 1 under its null at every stopping time, so P(E_t >= 1/alpha at any t) <= alpha
(Ville's inequality): it may be watched after each probe. Missing probes are left out before they get here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from probes.statistics.alternatives import log_factors, log_weights, tilted_grid
from probes.statistics.logs import log_sum_exp, require_rate

__all__ = [
    "Decision",
    "DualEProcessTest",
    "LikelihoodRatioTest",
    "MixtureEProcess",
    "SequentialTest",
    "tilted_grid",
]

Test = TypeVar("Test", "SequentialTest", "DualEProcessTest")


class Decision(StrEnum):
    """What a sequential test says so far."""

    CONTINUE = "continue"
    REJECT = "reject"
    ACCEPT = "accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureEProcess:
    """Evidence against p <= p0, mixed over alternatives q > p0.

    log E_n = log sum_j w_j (q_j/p0)^S ((1-q_j)/(1-p0))^(n-S), S successes in n; a weighed outcome counts by its
    ``log_factors``. Valid for every p <= p0 under any adaptive sampling, since no factor has a mean above 1.

    Attributes:
        log_m: Log evidence for each alternative; empty at the start.
    """

    p0: float
    q: tuple[float, ...]
    w: tuple[float, ...]
    n: int = 0
    log_m: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rates and weights that make no e-process."""
        log_weights(self.p0, self.q, self.w)
        if len(self.log_m) not in (0, len(self.q)) or not -math.inf < sum(self.log_m) < math.inf:
            raise ValueError(f"log_m = {self.log_m} must hold one number for each of {len(self.q)} alternatives")

    def update(self, x: float) -> MixtureEProcess:
        """Return the state after one more outcome, see ``log_factors``."""
        factors = log_factors(self.p0, self.q, x)
        log_m = tuple([m + f for m, f in zip(self.log_m, factors, strict=True)]) if self.log_m else factors
        return MixtureEProcess(p0=self.p0, q=self.q, w=self.w, n=self.n + 1, log_m=log_m)

    @property
    def log_e(self) -> float:
        """Natural log of the e-value; 0 at the start."""
        if not self.log_m:
            return 0.0
        weights = log_weights(self.p0, self.q, self.w)
        return log_sum_exp([w + m for w, m in zip(weights, self.log_m, strict=True)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodRatioTest:
    """Evidence that a rate is below p1, by the likelihood ratio of p0 against it; it can accept and nothing else.

    (p0/p1)^S ((1-p0)/(1-p1))^(n-S) is an e-process for every p >= p1, so it reaches 1/beta with probability at most
    beta there. Every outcome is 0 or 1: a weighed one could make a factor negative.
    """

    p0: float
    p1: float
    beta: float = 1e-2
    n: int = 0
    successes: int = 0

    def __post_init__(self) -> None:
        """Refuse rates in the wrong order and counts that can't be."""
        _checked_rates(self.p0, self.p1, self.beta)
        _require_part(self.successes, self.n)

    def update(self, x: float) -> LikelihoodRatioTest:
        """Return the state after one more outcome."""
        return replace(self, n=self.n + 1, successes=self.successes + _bernoulli(x))

    @property
    def log_e(self) -> float:
        """Log evidence against p >= p1."""
        return _log_ratio(self.p1, self.p0, self.successes, self.n - self.successes)

    @property
    def decision(self) -> Decision:
        """``ACCEPT`` once it is sure."""
        return Decision.ACCEPT if self.log_e >= -math.log(self.beta) else Decision.CONTINUE


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialTest:
    """Is the rate above p0 (reject) or below p1 (accept)? Stops as soon as either is sure.

    Rejects when the mixture e-process against p <= p0 reaches 1/alpha; accepts when the likelihood ratio
    against p >= p1 reaches 1/beta. False alarm <= alpha, miss <= beta, at any stopping time. Outcomes are 0 or 1.

    Where a judge passes some replies unseen, a reply without harm found may hide some. Such outcomes count against
    the null alone: what is found is at most what is there. To accept, only outcomes of the sampled part count, which
    is judged in full whatever comes out.
    """

    p0: float
    p1: float
    alpha: float = 1e-3
    beta: float = 1e-2
    n: int = 0
    successes: int = 0
    unsampled: int = 0
    unsampled_successes: int = 0

    def __post_init__(self) -> None:
        """Refuse rates in the wrong order and counts that can't be."""
        _checked_rates(self.p0, self.p1, self.alpha, self.beta)
        _require_part(self.unsampled_successes, self.unsampled)
        _require_part(self.successes - self.unsampled_successes, self.n - self.unsampled)

    def update(self, x: float, *, sampled: bool = True) -> SequentialTest:
        """Return the state after one more probe."""
        return _counted(self, x, sampled=sampled)

    @property
    def log_e(self) -> float:
        """Log evidence against p <= p0: of all outcomes, and in equal parts of the sampled ones if fewer."""
        whole = _log_mixture(self.p0, self.p1, self.successes, self.n - self.successes)
        if not self.unsampled:
            return whole
        return log_sum_exp([whole, _log_mixture(self.p0, self.p1, *self._sampled)]) - math.log(2)

    @property
    def decision(self) -> Decision:
        """What the probes so far say."""
        if self.log_e >= -math.log(self.alpha):
            return Decision.REJECT
        healthy = _log_ratio(self.p1, self.p0, *self._sampled)
        return Decision.ACCEPT if healthy >= -math.log(self.beta) else Decision.CONTINUE

    @property
    def _sampled(self) -> tuple[int, int]:
        """Successes and failures of the part that is judged in full."""
        successes = self.successes - self.unsampled_successes
        return successes, self.n - self.unsampled - successes


@dataclass(frozen=True, slots=True, kw_only=True)
class DualEProcessTest:
    """Has a repaired release recovered to p < theta (accept), or not (reject)?

    Recovered: log mean_j (q_j/theta)^S ((1-q_j)/(1-theta))^(n-S) over q = theta/20, theta/5 reaches 1/delta, and over
    ``base`` as well, where that lies between theta/5 and theta: what was never much under theta can recover, too;
    failed: the likelihood ratio of 2.5 theta (at most half the way from theta to 1) against theta reaches 1/alpha, or
    the cap is reached undecided. False "recovered" <= delta, false "failed" before the cap <= alpha. For "recovered"
    only outcomes of the sampled part count, see ``SequentialTest``.
    """

    theta: float
    delta: float = 0.01
    alpha: float = 1e-3
    cap: int = 400
    base: float | None = None
    n: int = 0
    successes: int = 0
    unsampled: int = 0
    unsampled_successes: int = 0

    def __post_init__(self) -> None:
        """Refuse rates outside (0, 1), a cap under which nothing can recover and counts that can't be."""
        for name in ("theta", "delta", "alpha"):
            require_rate(name, getattr(self, name))
        if self.base is not None and not 0 <= self.base <= 1:
            raise ValueError(f"base = {self.base} must lie in [0, 1]")
        _require_reachable(self.theta, self.delta, self.cap, self.base)
        _require_part(self.unsampled_successes, self.unsampled)
        _require_part(self.successes - self.unsampled_successes, self.n - self.unsampled)

    def update(self, x: float, *, sampled: bool = True) -> DualEProcessTest:
        """Return the state after one more probe."""
        return _counted(self, x, sampled=sampled)

    @property
    def log_e(self) -> float:
        """Log evidence for "recovered"."""
        successes = self.successes - self.unsampled_successes
        return _log_recovered(self.theta, self.base, successes, self.n - self.unsampled - successes)

    @property
    def decision(self) -> Decision:
        """``ACCEPT`` is recovered, ``REJECT`` is failed."""
        if self.log_e >= -math.log(self.delta):
            return Decision.ACCEPT
        s, f = self.successes, self.n - self.successes
        failed = _log_ratio(self.theta, min(2.5 * self.theta, (1 + self.theta) / 2), s, f)
        return Decision.REJECT if failed >= -math.log(self.alpha) or self.n >= self.cap else Decision.CONTINUE


def _counted(test: Test, x: float, *, sampled: bool) -> Test:
    """Return a test that counts one more probe."""
    x = _bernoulli(x)
    return replace(
        test,
        n=test.n + 1,
        successes=test.successes + x,
        unsampled=test.unsampled + (not sampled),
        unsampled_successes=test.unsampled_successes + (0 if sampled else x),
    )


def _log_mixture(p0: float, p1: float, successes: int, failures: int) -> float:
    q, w = tilted_grid(p1)
    terms = zip(log_weights(p0, q, w), log_factors(p0, q, 1), log_factors(p0, q, 0), strict=True)
    return log_sum_exp([weight + successes * up + failures * down for weight, up, down in terms])


def _log_ratio(p0: float, q: float, successes: int, failures: int) -> float:
    return successes * math.log(q / p0) + failures * math.log((1 - q) / (1 - p0))


def _log_recovered(theta: float, base: float | None, successes: int, failures: int) -> float:
    near = (base,) if base is not None and theta / 5 < base < theta else ()
    ratios = [_log_ratio(theta, q, successes, failures) for q in (theta / 20, theta / 5, *near)]
    return log_sum_exp(ratios) - math.log(len(ratios))


@lru_cache(maxsize=1024)
def _require_reachable(theta: float, delta: float, cap: int, base: float | None) -> None:
    if not cap >= 1 or _log_recovered(theta, base, 0, cap) < -math.log(delta):
        raise ValueError(
            f"cap = {cap}: so many probes without one success don't show a rate under theta = {theta} with "
            f"delta = {delta}; raise cap, theta or delta"
        )


@lru_cache(maxsize=1024)
def _checked_rates(p0: float, p1: float, *errors: float) -> None:
    for name, value in (("p0", p0), ("p1", p1), *(("an error rate", e) for e in errors)):
        require_rate(name, value)
    if p1 <= p0:
        raise ValueError(f"p1 = {p1} must be above p0 = {p0}")


def _require_part(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} probes: a part can't be larger than its whole")


def _bernoulli(x: float) -> int:
    if x not in (0, 1):
        raise ValueError(f"outcome {x} must be 0 or 1; leave missing probes out")
    return int(x)
