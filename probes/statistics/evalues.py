"""One-sided mixture e-processes for a Bernoulli rate and the tests built on them.

An e-process E has E[E_tau] <= 1 under its null at every stopping time, so P(E_t >= 1/alpha at any t) <= alpha
(Ville's inequality): it may be watched after each probe. Missing probes are left out before they get here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["Decision", "DualEProcessTest", "MixtureEProcess", "SequentialTest", "tilted_grid"]


class Decision(StrEnum):
    """What a sequential test says so far."""

    CONTINUE = "continue"
    REJECT = "reject"
    ACCEPT = "accept"


def tilted_grid(p1: float, *, top: float = 0.9) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Alternatives (p1, mid, top) with weights (.5, .25, .25); mid halves the way on the logit scale.

    Args:
        p1: The smallest rate that must be found quickly, in (0, 1).

    Returns:
        Alternatives and their weights.
    """
    top = max(top, p1)
    mid = _expit((_logit(p1) + _logit(top)) / 2)
    return (p1, mid, top), (0.5, 0.25, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureEProcess:
    """Evidence against p <= p0, mixed over alternatives q > p0.

    log E_n = log sum_j w_j (q_j/p0)^S ((1-q_j)/(1-p0))^(n-S), S successes in n.
    Valid for every p <= p0 under any adaptive sampling, since each factor has mean
    1 + (p - p0)(q - p0)/(p0(1 - p0)) <= 1.
    """

    p0: float
    q: tuple[float, ...]
    w: tuple[float, ...]
    n: int = 0
    successes: int = 0

    def __post_init__(self) -> None:
        """Refuse rates and weights that make no e-process."""
        _require_rate("p0", self.p0)
        if not self.q or len(self.q) != len(self.w) or not math.isclose(sum(self.w), 1.0):
            raise ValueError("q and w must be equally long and w must sum to 1")
        for q in self.q:
            _require_rate("q", q)
            if q <= self.p0:
                raise ValueError(f"alternative {q} must be above p0 = {self.p0}")

    def update(self, success: bool) -> MixtureEProcess:
        """Return the state after one more probe."""
        return replace(self, n=self.n + 1, successes=self.successes + bool(success))

    @property
    def log_e(self) -> float:
        """Natural log of the e-value."""
        s, f = self.successes, self.n - self.successes
        return _logsumexp(
            [
                math.log(w) + s * math.log(q / self.p0) + f * math.log((1 - q) / (1 - self.p0))
                for q, w in zip(self.q, self.w, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialTest:
    """Is the rate above p0 (reject) or below p1 (accept)? Stops as soon as either is sure.

    Rejects when the mixture e-process against p <= p0 reaches 1/alpha; accepts when the likelihood ratio
    against p >= p1 reaches 1/beta. False alarm <= alpha, miss <= beta, at any stopping time.

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
        """Refuse rates in the wrong order."""
        for name in ("p0", "p1", "alpha", "beta"):
            _require_rate(name, getattr(self, name))
        if self.p1 <= self.p0:
            raise ValueError(f"p1 = {self.p1} must be above p0 = {self.p0}")

    def update(self, success: bool, *, sampled: bool = True) -> SequentialTest:
        """Return the state after one more probe."""
        return replace(
            self,
            n=self.n + 1,
            successes=self.successes + bool(success),
            unsampled=self.unsampled + (not sampled),
            unsampled_successes=self.unsampled_successes + (success and not sampled),
        )

    @property
    def log_e(self) -> float:
        """Log evidence against p <= p0: of all outcomes, and in equal parts of the sampled ones if fewer."""
        q, w = tilted_grid(self.p1)
        whole = MixtureEProcess(p0=self.p0, q=q, w=w, n=self.n, successes=self.successes)
        if not self.unsampled:
            return whole.log_e
        n, successes = self.n - self.unsampled, self.successes - self.unsampled_successes
        return _logsumexp([whole.log_e, replace(whole, n=n, successes=successes).log_e]) - math.log(2)

    @property
    def decision(self) -> Decision:
        """What the probes so far say."""
        if self.log_e >= math.log(1 / self.alpha):
            return Decision.REJECT
        s = self.successes - self.unsampled_successes
        f = self.n - self.unsampled - s
        healthy = s * math.log(self.p0 / self.p1) + f * math.log((1 - self.p0) / (1 - self.p1))
        return Decision.ACCEPT if healthy >= math.log(1 / self.beta) else Decision.CONTINUE


@dataclass(frozen=True, slots=True, kw_only=True)
class DualEProcessTest:
    """Has a repaired release recovered to p < theta (accept), or not (reject)?

    Recovered: log mean_j (q_j/theta)^S ((1-q_j)/(1-theta))^(n-S) over q = theta/20, theta/5 reaches 1/delta;
    failed: the likelihood ratio of 2.5 theta (at most .95) against theta reaches 1/alpha, or the cap is reached
    undecided. False "recovered" <= delta. For "recovered" only outcomes of the sampled part count, see
    ``SequentialTest``.
    """

    theta: float
    delta: float = 0.01
    alpha: float = 1e-3
    cap: int = 400
    n: int = 0
    successes: int = 0
    unsampled: int = 0
    unsampled_successes: int = 0

    def __post_init__(self) -> None:
        """Refuse rates outside (0, 1)."""
        for name in ("theta", "delta", "alpha"):
            _require_rate(name, getattr(self, name))

    def update(self, success: bool, *, sampled: bool = True) -> DualEProcessTest:
        """Return the state after one more probe."""
        return replace(
            self,
            n=self.n + 1,
            successes=self.successes + bool(success),
            unsampled=self.unsampled + (not sampled),
            unsampled_successes=self.unsampled_successes + (success and not sampled),
        )

    @property
    def log_e(self) -> float:
        """Log evidence for "recovered"."""
        s = self.successes - self.unsampled_successes
        f = self.n - self.unsampled - s
        return _logsumexp([self._log_ratio(q, s, f) for q in (self.theta / 20, self.theta / 5)]) - math.log(2)

    @property
    def decision(self) -> Decision:
        """``ACCEPT`` is recovered, ``REJECT`` is failed."""
        if self.log_e >= math.log(1 / self.delta):
            return Decision.ACCEPT
        s, f = self.successes, self.n - self.successes
        if self._log_ratio(min(2.5 * self.theta, (1 + self.theta) / 2), s, f) >= math.log(1 / self.alpha):
            return Decision.REJECT
        return Decision.REJECT if self.n >= self.cap else Decision.CONTINUE

    def _log_ratio(self, q: float, s: int, f: int) -> float:
        return s * math.log(q / self.theta) + f * math.log((1 - q) / (1 - self.theta))


def _require_rate(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} = {value} must lie in (0, 1)")


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _logsumexp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))
