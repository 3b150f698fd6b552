"""What a way of watching finds, how soon, and what it costs, from many simulated watches."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from probes.statistics.alternatives import log_factors
from probes.statistics.detectors import ShiryaevRobertsEDetector
from probes.statistics.simulation.confirmation import Confirmation, confirmation_law
from probes.statistics.simulation.false_alarms import alarm_rate
from probes.statistics.simulation.monitoring import DAY_SECONDS, YEAR_SECONDS, Drift, Monitoring
from probes.statistics.simulation.timeline import (
    PROBES_MAX,
    Confirmations,
    Healthy,
    Passage,
    follow_drift,
    watch_healthy,
)

__all__ = ["FalseAlarms", "Found", "Outlook", "require_findable", "simulate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How a drift is found: first signs (``gamma_warn``), breach (``gamma_breach``), confirmed or left to a person.

    Attributes:
        laws: How one confirmation ends.
    """

    warned: Passage
    breached: Passage
    settled: Passage
    laws: Confirmations


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarms:
    """What goes wrong in a year on a healthy target, in mean.

    Attributes:
        breaches_bound: No more false breaches, by theorem.
        breaches: Measured by importance sampling.
        breaches_error: Standard error of it.
        remediations_bound: No more of them are confirmed, by theorem.
        remediations: Measured breaches times the exact probability to confirm one, the larger of suite and strata.
    """

    breaches_bound: float
    breaches: float
    breaches_error: float
    remediations_bound: float
    remediations: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a site can expect.

    Attributes:
        found: ``None`` where nothing drifts.
        idle_probes_per_day: Measured on the healthy target, the odd quickening included.
        burst_probes_per_day: While the evidence is at ``gamma_warn`` or above.
    """

    found: Found | None
    false_alarms: FalseAlarms
    idle_probes_per_day: float
    burst_probes_per_day: float
    runs: int


def require_findable(monitoring: Monitoring, drift: Drift) -> None:
    """Refuse what can't be told from health, is unhealthy before, or takes more than a year for sure.

    Raises:
        ValueError: It names the setting and the way out.
    """
    m = monitoring
    worst = min(m.p0, m.null) if drift.strata else m.p0
    if drift.before > worst:
        raise ValueError(
            f"before = {drift.before:.3g} is above p0 = {worst:g}: by these settings the target is unhealthy already; "
            "raise statistics.p0 above it, or mend the target first"
        )
    if drift.after is None:
        return
    pooled, stratum = m.detectors(strata=drift.strata > 0)
    ways = [(drift.overall, pooled), *([(drift.after, stratum)] if drift.strata else [])]
    held, wanted = ("stratum's p0", "stratum's p1") if drift.strata else ("p0", "p1")
    null, least = (stratum.p0, stratum.q[0]) if drift.strata else (m.p0, m.p1)
    if all(rate <= detector.p0 for rate, detector in ways):
        raise ValueError(
            f"after = {drift.after:.3g} is not above the {held} = {null:.3g}: still healthy by these settings, so "
            "nothing is there to be found; lower statistics.p0, or simulate a larger drift or fewer strata"
        )
    growth = max(_growth(detector, rate) for rate, detector in ways)
    if growth <= 0:
        raise ValueError(
            f"after = {drift.after:.3g} lies so far under the {wanted} = {least:.3g} that no evidence grows: it would "
            f"not be found in a year; lower statistics.p1 towards {drift.after:.3g}, or simulate a larger drift"
        )
    _require_year(m, drift.after, growth)


def _require_year(m: Monitoring, after: float, growth: float) -> None:
    """Refuse what takes too long even where every probe meets the drift and the evidence grows as it does in mean."""
    probes = math.log(m.gamma_breach) / growth / (1 - m.missing)
    if probes > PROBES_MAX:
        raise ValueError(
            f"gamma_breach = {m.gamma_breach:g} takes about {probes:,.0f} probes of a drift to {after:.3g}, over the "
            f"{PROBES_MAX:,} that are simulated; lower statistics.gamma_breach, or statistics.p1 towards {after:.3g}"
        )
    log_r = seconds = 0.0
    while log_r < math.log(m.gamma_breach) and seconds <= YEAR_SECONDS:
        urgency = m.urgency(np.array([math.exp(min(log_r, 700.0))]))
        seconds += float(m.gap_seconds(urgency)[0])
        log_r += growth * (1 - m.missing) * float(m.batch_size(urgency)[0])
    if m.probes_per_day is not None:
        seconds = max(seconds, probes / m.probes_per_day * DAY_SECONDS)
    if seconds > YEAR_SECONDS:
        raise ValueError(
            f"gamma_breach = {m.gamma_breach:g} takes about {probes:,.0f} probes of a drift to {after:.3g}, which this "
            "schedule does not send in a year; probe more often (schedule.interval_seconds, schedule.batch, "
            "load.tokens_per_day), or lower statistics.gamma_breach"
        )


def _growth(detector: ShiryaevRobertsEDetector, rate: float) -> float:
    """Growth of the log evidence for a probe in the long run: of the alternative that grows fastest."""
    up, down = log_factors(detector.p0, detector.q, 1.0), log_factors(detector.p0, detector.q, 0.0)
    return max(rate * u + (1 - rate) * d for u, d in zip(up, down, strict=True))


def simulate(
    monitoring: Monitoring, confirmation: Confirmation, drift: Drift, *, runs: int, rng: np.random.Generator
) -> Outlook:
    """Watch a healthy target for a while, then let it drift, ``runs`` times.

    Raises:
        ValueError: See ``require_findable``.
    """
    require_findable(monitoring, drift)
    m = monitoring
    healthy = watch_healthy(m, drift, runs, rng)
    alarms = alarm_rate(healthy.paths, healthy.tilting, rng)
    a_year = healthy.probes_per_day * YEAR_SECONDS / DAY_SECONDS
    breaches = alarms.value * a_year / healthy.probes_per_batch
    tests = (confirmation, _of_stratum(m, confirmation)) if drift.strata else (confirmation,)
    agrees = max(confirmation_law(test, drift.before).confirmed for test in tests)
    return Outlook(
        found=None if drift.after is None else _found(healthy, confirmation, drift, rng),
        false_alarms=FalseAlarms(
            breaches_bound=a_year / m.gamma_breach,
            breaches=breaches,
            breaches_error=alarms.standard_error * a_year / healthy.probes_per_batch,
            remediations_bound=a_year / m.gamma_breach * confirmation.alpha,
            remediations=breaches * agrees,
        ),
        idle_probes_per_day=healthy.probes_per_day,
        burst_probes_per_day=m.probes_a_day(1.0),
        runs=runs,
    )


def _of_stratum(m: Monitoring, confirmation: Confirmation) -> Confirmation:
    _, stratum = m.detectors(strata=True)
    return replace(confirmation, p0=stratum.p0, p1=stratum.q[0])


def _found(healthy: Healthy, confirmation: Confirmation, drift: Drift, rng: np.random.Generator) -> Found:
    suite = strata = confirmation_law(confirmation, drift.overall)
    if drift.strata and drift.after is not None:
        strata = confirmation_law(_of_stratum(healthy.paths.monitoring, confirmation), drift.after)
    laws = Confirmations(suite=suite, strata=strata)
    warned, breached, settled = follow_drift(healthy, drift, laws, rng)
    return Found(warned=warned, breached=breached, settled=settled, laws=laws)
