"""How often a healthy target is taken for a drifted one: a bound that is a theorem, and a measured rate.

Let A_t be the false breaches among the first t probes, each of which sets R back to 0. While no rate is above its null,
R_t + gamma A_t - t is a supermartingale (R as ``ShiryaevRobertsEDetector`` counts it), so that E[A] <= E[probes] /
gamma over any time: at most so many.

The rate itself is far too small to be seen by plain simulation, so it is measured by importance sampling. A change to
a tilted law is put in at one batch, after a long healthy time. With Lambda_s the likelihood ratio of the tilt from
batch s on against the healthy law, and S = sum_s Lambda_s over all batches and tilts so far, an alarm is worth 1 / S:
summed over all batches the weights Lambda_s / S of an alarm make 1, so that the mean of 1 / S is the rate of alarms
for each batch (the change of measure of Siegmund & Yakir, and of Pollak, for scan statistics).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probes.statistics.simulation.monitoring import Floats
from probes.statistics.simulation.paths import Paths
from probes.statistics.simulation.tilting import Tilting

__all__ = ["AlarmRate", "alarm_rate"]

_PROBES_MAX = 20_000
_COPIES, _COPIES_OF_STRATA = 12_000, 3_000
"""Paths that are followed to an alarm."""
_WORTH_LEAST = 1e-3
"""Of an alarm against those before it on the same path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRate:
    """False breaches for each batch of a healthy target, with the standard error of the simulation."""

    value: float
    standard_error: float


def alarm_rate(paths: Paths, tilting: Tilting, rng: np.random.Generator) -> AlarmRate:
    """Measure false breaches for each batch, from paths that were healthy for a long time.

    Args:
        paths: Each row is followed under each tilt, and more than once where that is cheap.
        tilting: What was learned on them.
        rng: Source of the draws.
    """
    strata, plans = paths.own.shape[1], tilting.plans
    budget = _COPIES_OF_STRATA if strata else _COPIES
    n = min(len(paths.own), max(20, budget // plans))
    copies = max(1, budget // (n * plans))
    rows = np.repeat(np.arange(n), plans * copies)
    plan = np.tile(np.repeat(np.arange(plans), copies), n)
    worth = _worth_of_alarms(paths.take(rows), tilting.take(rows, plan), rng).reshape(n, plans, copies).mean(axis=2)
    times = np.where(np.arange(plans) < len(tilting.tilts[0].q), 1.0, strata)
    by_row = worth @ times
    return AlarmRate(value=float(by_row.mean()), standard_error=float(by_row.std(ddof=1)) / math.sqrt(n))


def _worth_of_alarms(paths: Paths, tilting: Tilting, rng: np.random.Generator) -> Floats:
    """Go on under the tilts and return the sum of 1 / S over the alarms, until a further one is worth too little."""
    m = paths.monitoring
    found = np.zeros(len(paths.own))
    active = np.arange(len(found))
    sent = 0
    while len(active) and sent < _PROBES_MAX:
        tilting.enter()
        sizes = m.batch_size(paths.urgency(active))
        paths.send(active, sizes, tilting, rng)
        sent += int(sizes.min())
        alarmed = paths.r(active) >= m.gamma_breach
        with np.errstate(over="ignore"):  # a worth of 1 / infinity is under all that can be told
            worth = 1.0 / tilting.total(active)
        found[active[alarmed]] += worth[alarmed]
        paths.reset(active[alarmed])
        active = active[worth >= _WORTH_LEAST * found[active]]
    return found
