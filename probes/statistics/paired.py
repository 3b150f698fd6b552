"""Is a new release worse than the old one, asked the same prompts?

Pairs take the difficulty of a prompt out of the comparison. Only pairs whose two outcomes come from the same build of
the same judge may get here, for only then does the judge's bias cancel; a pair with a missing side is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from probes.statistics.evalues import Decision
from probes.statistics.logs import log_sum_exp, require_rate

__all__ = ["PairedBettingTest"]

_WORSE = (0.1, 0.3, 0.6, 0.9)
_NO_WORSE = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedBettingTest:
    """Sequential test of d = new outcome less old outcome in [-1, 1]: abort a canary, or promote it.

    Aborts when mean_j prod(1 + l_j d) over l = .1, .3, .6, .9 reaches 1/alpha, evidence against E[d] <= 0. Promotes
    when mean_j prod(1 - l_j (d - margin)) over l = .1, .25, .5, .75, .9 reaches 1/beta, evidence against
    E[d] >= margin (non-inferiority). Both are betting e-processes (Waudby-Smith & Ramdas, arXiv 2010.09686) and may be
    looked at after each pair: a release no worse is aborted with a chance of at most alpha, one worse by the margin or
    more is promoted with a chance of at most beta.

    Attributes:
        margin: Smallest worsening that must not be promoted, in (0, 1).
        alpha: Chance of a false abort.
        beta: Chance of a false promotion.
        log_worse: Log wealth of each bet on "worse".
        log_no_worse: Log wealth of each bet on "not worse by the margin".
    """

    margin: float = 0.05
    alpha: float = 1e-3
    beta: float = 1e-2
    n: int = 0
    log_worse: tuple[float, ...] = (0.0,) * len(_WORSE)
    log_no_worse: tuple[float, ...] = (0.0,) * len(_NO_WORSE)

    def __post_init__(self) -> None:
        """Refuse rates outside (0, 1)."""
        for name in ("margin", "alpha", "beta"):
            require_rate(name, getattr(self, name))

    def update(self, difference: float) -> PairedBettingTest:
        """Return the state after one more pair.

        Args:
            difference: Outcome of the new release less that of the old one, in [-1, 1].
        """
        if not -1 <= difference <= 1:
            raise ValueError(f"difference {difference} must lie in [-1, 1]; leave out pairs with a missing side")
        bets = zip(_WORSE, self.log_worse, strict=True)
        others = zip(_NO_WORSE, self.log_no_worse, strict=True)
        return replace(
            self,
            n=self.n + 1,
            log_worse=tuple(m + math.log1p(bet * difference) for bet, m in bets),
            log_no_worse=tuple(m + math.log1p(-bet * (difference - self.margin)) for bet, m in others),
        )

    @property
    def log_e_worse(self) -> float:
        """Log evidence against "the new release is no worse"."""
        return log_sum_exp(self.log_worse) - math.log(len(_WORSE))

    @property
    def log_e_no_worse(self) -> float:
        """Log evidence against "the new release is worse by the margin or more"."""
        return log_sum_exp(self.log_no_worse) - math.log(len(_NO_WORSE))

    @property
    def decision(self) -> Decision:
        """``REJECT`` is worse, abort; ``ACCEPT`` is not worse by the margin, promote."""
        if self.log_e_worse >= math.log(1 / self.alpha):
            return Decision.REJECT
        return Decision.ACCEPT if self.log_e_no_worse >= math.log(1 / self.beta) else Decision.CONTINUE
