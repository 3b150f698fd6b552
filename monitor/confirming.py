"""Which prompts and which rates a breach is confirmed on, and a recovery proved on. Pure.

Where the whole suite fired, the sealed part of it and p0. Where strata fired, their sealed prompts and their own nulls:
on the whole suite, one stratum of forty at 95 % would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.baseline import SENTINEL
from monitor.drawing import cells_in
from monitor.measure import Measure
from monitor.policy import Rates
from monitor.probe_log import Epoch
from monitor.watch import SURVEY
from probes.behavior import Partition
from probes.plan import Cell
from probes.statistics.detectors import raised_alternative
from probes.statistics.evalues import DualEProcessTest, SequentialTest

__all__ = ["Grounds", "grounds_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a breach stands on.

    Attributes:
        strata: What fired; empty for the suite as a whole.
        cells: Where to draw from.
        p0: Highest healthy rate there.
        p1: Smallest rate there that must be found quickly.
        words: What the cells are, for people.
    """

    strata: tuple[str, ...]
    cells: tuple[Cell, ...]
    p0: float
    p1: float
    words: str

    def confirmation(self, rates: Rates) -> SequentialTest:
        """Begin the test that confirms or dismisses the breach."""
        return SequentialTest(p0=self.p0, p1=self.p1, alpha=rates.alpha, beta=rates.beta)

    def recovery(self, rates: Rates) -> DualEProcessTest:
        """Begin the test that proves that what fired has recovered."""
        theta = max(rates.theta_stratum, self.p1) if self.strata else rates.theta
        return DualEProcessTest(theta=theta, delta=rates.delta, alpha=rates.alpha, cap=rates.cap)


def grounds_of(evidence: Mapping[str, Any], epoch: Epoch | None, measure: Measure, rates: Rates) -> Grounds:
    """Say what an incident's breach stands on.

    Args:
        evidence: The incident's fact of this name.
        epoch: The epoch that the breach was found in.
    """
    fired = tuple(evidence.get("fired", (SURVEY,)))
    baseline = epoch.baseline if epoch else None
    nulls = baseline.nulls(rates.p0) if baseline else {}
    strata = tuple(name for name in fired if name in nulls)
    sealed = cells_in(measure, Partition.SEALED)
    if SURVEY in fired or not strata or baseline is None:
        return Grounds(strata=(), cells=sealed, p0=rates.p0, p1=rates.p1, words="sealed prompts")
    p0 = max(nulls[name] for name in strata)
    p1 = raised_alternative(p0, p0=rates.p0, p1=rates.p1)
    named = ", ".join(strata)

    def inside(cells: Sequence[Cell]) -> tuple[Cell, ...]:
        return tuple(c for c in cells if baseline.stratum_of(c.behavior.category, c.attack.name) in strata)

    if cells := inside(sealed):
        return Grounds(strata=strata, cells=cells, p0=p0, p1=p1, words=f"sealed prompts of {named}")
    if cells := inside(cells_in(measure, Partition.ROTATING)):
        words = f"fresh draws of {named} (it has no sealed prompt)"
        return Grounds(strata=strata, cells=cells, p0=p0, p1=p1, words=words)
    certified = set(baseline.sentinels) if SENTINEL in strata else set()
    cells = tuple(
        c for c in cells_in(measure, Partition.SENTINEL) if (c.behavior.id, c.attack.name) in certified
    )
    if cells:
        return Grounds(strata=strata, cells=cells, p0=p0, p1=p1, words="fresh draws of the sentinels")
    return Grounds(strata=(), cells=sealed, p0=rates.p0, p1=rates.p1, words="sealed prompts")
