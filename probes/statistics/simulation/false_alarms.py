"""How often a healthy target is taken for a drifted one: a bound that is a theorem, and a measured rate.

Let A_t be the false breaches among the first t probes, each of which sets R back to 0. While no rate is above its null,
R_t + gamma A_t - t is a supermartingale, so that E[A] <= E[probes] / gamma over any time: at most so many.

The rate itself is far too small to be seen by plain simulation, so it is measured by importance sampling. A change to
a tilted rate is put in at one batch, after a long healthy time. With Lambda_s the likelihood ratio of the tilt from
batch s on against the healthy law, and S = sum_s Lambda_s over all batches and tilts so far, an alarm is worth 1 / S:
summed over all batches the weights Lambda_s / S of an alarm make 1, so that the mean of 1 / S is the rate of alarms
for each batch (the change of measure of Siegmund & Yakir, and of Pollak, for scan statistics).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from probes.statistics.evalues import tilted_grid
from probes.statistics.simulation.monitoring import Floats, Monitoring
from probes.statistics.simulation.paths import Law, Paths, Recursion

__all__ = ["AlarmRate", "alarm_rate", "tilts", "with_likelihood"]

_PROBES_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRate:
    """False breaches for each batch of a healthy target, with the standard error of the simulation."""

    value: float
    standard_error: float


def tilts(rate: float, null: float, p1: float) -> tuple[float, ...]:
    """Rates under which each alternative's evidence most probably gets high although the true rate is healthy.

    rate * (q / null)^theta where theta solves E[LR^theta] = 1 at the true rate (Cramer). At rate = null theta is 1 and
    the tilt is the alternative.
    """
    q, _ = tilted_grid(p1)
    return tuple(_tilt(rate, math.log(a / null), math.log((1 - a) / (1 - null))) for a in q)


def _tilt(rate: float, up: float, down: float) -> float:
    def log_moment(theta: float) -> float:
        return float(np.logaddexp(math.log(rate) + theta * up, math.log1p(-rate) + theta * down))

    low, high = 1.0, 2.0
    while log_moment(high) < 0:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if log_moment(middle) < 0 else (low, middle)
    theta = 1.0 if log_moment(1.0) >= 0 else high
    return math.exp(math.log(rate) + theta * up - log_moment(theta))


def with_likelihood(paths: Paths, rate: float) -> Paths:
    """Let healthy paths keep the likelihood ratios that importance sampling needs, from now on."""
    m = paths.monitoring
    rows, strata = paths.evidence.strata.shape[:2]
    q = (tilts(rate, m.p0, m.p1), tilts(rate, m.null, m.p1))
    likelihood = Recursion.zero(rows, strata, nulls=(rate, rate), q=q)
    return replace(paths, likelihood=likelihood)


def alarm_rate(paths: Paths, rate: float, rng: np.random.Generator) -> AlarmRate:
    """Measure false breaches for each batch, from paths that were healthy for a long time at ``rate``.

    Args:
        paths: With likelihood ratios; their rows are shared out among the tilts.
        rate: True ASR, the same in all strata.
        rng: Source of the draws.
    """
    m = paths.monitoring
    n, strata = paths.evidence.strata.shape[:2]
    tilted = (tilts(rate, m.p0, m.p1), tilts(rate, m.null, m.p1) if strata else ())
    plans = [(False, q) for q in tilted[0]] + [(True, q) for q in tilted[1]]
    plan = np.arange(n) % len(plans)
    survey = np.full((n, max(1, strata)), rate)
    hunt = survey.copy()
    for i, (in_stratum, q) in enumerate(plans):
        if in_stratum:
            survey[plan == i, 0] = hunt[plan == i, 0] = q
        else:
            survey[plan == i] = q
    weights = _weights_of_alarms(paths.take(np.arange(n)), Law(survey=survey, hunt=hunt), rng)
    value = variance = 0.0
    for i, (in_stratum, _) in enumerate(plans):
        times, mine = (strata if in_stratum else 1), weights[plan == i]
        value += times * float(mine.mean())
        variance += times**2 * float(mine.var(ddof=1)) / len(mine)
    return AlarmRate(value=value, standard_error=math.sqrt(variance))


def _weights_of_alarms(paths: Paths, law: Law, rng: np.random.Generator) -> Floats:
    """Go on under the tilts to the first alarm and return 1 / S there; 0 where none comes."""
    m, likelihood = paths.monitoring, paths.likelihood
    if likelihood is None:
        raise ValueError("these paths keep no likelihood ratios; see with_likelihood")
    weights = np.zeros(len(paths.evidence.survey))
    active = np.arange(len(weights))
    sent = 0
    while len(active) and sent < _PROBES_MAX:
        likelihood.enter()
        sizes = m.batch_size(m.urgency(paths.r(active)))
        paths.send(active, sizes, law, rng)
        sent += int(sizes.min())
        alarmed = paths.r(active) >= m.gamma_breach
        done = active[alarmed]
        with np.errstate(over="ignore"):  # a weight of 1 / infinity is under all that can be told
            weights[done] = 1.0 / (likelihood.survey[done].sum(axis=1) + likelihood.strata[done].sum(axis=(1, 2)))
        active = active[~alarmed]
    return weights
