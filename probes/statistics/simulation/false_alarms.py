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

from probes.statistics.detectors import ShiryaevRobertsEDetector
from probes.statistics.simulation.monitoring import Floats
from probes.statistics.simulation.paths import Bet, Law, Paths, Recursion, likelihood_ratios

__all__ = ["AlarmRate", "alarm_rate", "tilts", "with_likelihood"]

_PROBES_MAX = 20_000
_WORTH_LEAST = 1e-3
"""Of an alarm against those before it on the same path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRate:
    """False breaches for each batch of a healthy target, with the standard error of the simulation."""

    value: float
    standard_error: float


def tilts(detector: ShiryaevRobertsEDetector, rate: float) -> tuple[float, ...]:
    """Rates under which each alternative's evidence most probably gets high although the true rate is healthy.

    rate * (q / p0)^theta, where theta solves E[LR^theta] = 1 at the true rate (Cramer). At rate = p0 theta is 1 and
    the tilt is the alternative.
    """
    p0 = detector.p0
    return tuple(_tilt(rate, math.log(q / p0), math.log((1 - q) / (1 - p0))) for q in detector.q)


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
    rows, strata = paths.own.shape
    survey, stratum = (
        Bet(ratios=likelihood_ratios(rate, tilts(detector, rate)), weights=np.asarray(detector.w))
        for detector in paths.monitoring.detectors(strata=strata > 0)
    )
    return replace(paths, likelihood=Recursion.zero(rows, strata, (survey, stratum)))


def alarm_rate(paths: Paths, rate: float, rng: np.random.Generator) -> AlarmRate:
    """Measure false breaches for each batch, from paths that were healthy for a long time at ``rate``.

    Args:
        paths: With likelihood ratios; their rows are shared out among the tilts.
        rate: True ASR, the same in all strata.
        rng: Source of the draws.
    """
    n, strata = paths.own.shape
    of_survey, of_stratum = (tilts(d, rate) for d in paths.monitoring.detectors(strata=strata > 0))
    plans = [(False, q) for q in of_survey] + [(True, q) for q in of_stratum if strata]
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
    """Go on under the tilts and return the sum of 1 / S over the alarms, until a further one is worth too little."""
    m, likelihood = paths.monitoring, paths.likelihood
    if likelihood is None:
        raise ValueError("these paths keep no likelihood ratios; see with_likelihood")
    weights = np.zeros(len(paths.own))
    active = np.arange(len(weights))
    sent = 0
    while len(active) and sent < _PROBES_MAX:
        likelihood.enter()
        sizes = m.batch_size(m.urgency(paths.r(active)))
        paths.send(active, sizes, law, rng)
        sent += int(sizes.min())
        alarmed = paths.r(active) >= m.gamma_breach
        with np.errstate(over="ignore"):  # a weight of 1 / infinity is under all that can be told
            worth = 1.0 / (likelihood.survey[active].sum(axis=1) + likelihood.strata[active].sum(axis=(1, 2)))
        weights[active[alarmed]] += worth[alarmed]
        paths.reset(active[alarmed])
        active = active[worth >= _WORTH_LEAST * weights[active]]
    return weights
