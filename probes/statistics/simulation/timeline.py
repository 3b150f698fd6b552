"""The course of simulated watches in time: a long healthy stretch, then a drift."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probes.statistics.simulation.confirmation import ConfirmationLaw
from probes.statistics.simulation.monitoring import DAY_SECONDS, Drift, Floats, Ints, Monitoring
from probes.statistics.simulation.paths import Paths, StratumRates, new_paths
from probes.statistics.simulation.tilting import Tilting, new_tilting, tilt_of

__all__ = ["PROBES_MAX", "Confirmations", "Healthy", "Passage", "follow_drift", "watch_healthy"]

_HEALTHY_LEAST, _HEALTHY_PER_STRATUM, _HEALTHY_MOST = 300, 60, 4_000
"""Probes of the healthy stretch: enough for each stratum's evidence to forget that it began at nothing."""
PROBES_MAX = 30_000
"""So many probes of one path are simulated after the drift; what is not found by then counts as never found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy:
    """Watches of a healthy target, and what its schedule comes to in mean over the second half of the stretch."""

    paths: Paths
    tilting: Tilting
    probes_per_batch: float
    seconds_per_batch: float

    @property
    def probes_per_day(self) -> float:
        """Probes a day, within the day's bound."""
        sent = self.probes_per_batch * DAY_SECONDS / self.seconds_per_batch
        bound = self.paths.monitoring.probes_per_day
        return sent if bound is None else min(sent, bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """When simulated watches reached something; infinity where one did not.

    Attributes:
        probes: Sent since the drift, the batch that reached it included.
        seconds: From the drift to the sending of that batch.
    """

    probes: Floats
    seconds: Floats

    def quantile(self, share: float) -> tuple[float, float]:
        """Return the probes and the seconds within which this share got there; each is a quantile of its own."""
        at = max(0, math.ceil(share * len(self.probes)) - 1)
        return float(np.sort(self.probes)[at]), float(np.sort(self.seconds)[at])

    def within(self, seconds: float) -> float:
        """Return the share that got there in time."""
        return float((self.seconds <= seconds).mean())

    def note(self, rows: Ints, probes: Floats, seconds: Floats) -> None:
        """Write down these rows' probes and seconds by now, where they were not there before."""
        new = rows[np.isinf(self.probes[rows])]
        self.probes[new], self.seconds[new] = probes[new], seconds[new]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmations:
    """How the drift's confirmations end: on the whole suite, and on the strata that drifted."""

    suite: ConfirmationLaw
    strata: ConfirmationLaw


def watch_healthy(monitoring: Monitoring, drift: Drift, runs: int, rng: np.random.Generator) -> Healthy:
    """Watch ``runs`` healthy targets from the beginning; a breach there sets its evidence back."""
    m = monitoring
    paths, rows = new_paths(m, runs, drift.strata), np.arange(runs)
    pooled, stratum = (tilt_of(detector, drift.before) for detector in m.detectors(strata=drift.strata > 0))
    tilting = new_tilting(paths.evidence, (pooled, stratum), drift.before)
    probes = min(_HEALTHY_MOST, max(_HEALTHY_LEAST, _HEALTHY_PER_STRATUM * drift.strata))
    batches = max(4, math.ceil(probes / m.batch))
    sent = passed = 0.0
    for i in range(batches):
        tilting.enter()
        sizes = m.batch_size(paths.urgency(rows))
        paths.send(rows, sizes, tilting, rng)
        paths.reset(rows[paths.r(rows) >= m.gamma_breach])
        if i >= batches // 2:
            sent += float(sizes.mean())
            passed += float(m.gap_seconds(paths.urgency(rows)).mean())
    counted = batches - batches // 2
    return Healthy(paths=paths, tilting=tilting, probes_per_batch=sent / counted, seconds_per_batch=passed / counted)


def follow_drift(
    healthy: Healthy, drift: Drift, laws: Confirmations, rng: np.random.Generator
) -> tuple[Passage, Passage, Passage]:
    """Let every watch's target drift at a random moment between two batches.

    A breach is confirmed in batches as of a burst, one after another: on prompts of the strata that drifted where the
    breach stands on a stratum, else on those of the whole suite. Where it is dismissed, the watch begins anew.

    Returns:
        When the evidence first reached ``gamma_warn``, when ``gamma_breach``, both at the end of a batch, and when the
        drift was confirmed or left to a person.
    """
    m, n = healthy.paths.monitoring, len(healthy.paths.own)
    paths = healthy.paths.take(np.arange(n))
    rates = _drifted(drift)
    seconds = rng.random(n) * m.gap_seconds(paths.urgency(np.arange(n)))
    days = _Days(bound=m.probes_per_day, of_day=rng.random(n) * DAY_SECONDS, idle=healthy.probes_per_day)
    probes = np.zeros(n)
    warned, breached, settled = (Passage(probes=np.full(n, np.inf), seconds=np.full(n, np.inf)) for _ in range(3))
    active = np.arange(n)
    while len(active) and probes[active].min() < PROBES_MAX:
        sizes, seconds[active] = days.allow(active, m.batch_size(paths.urgency(active)), seconds[active])
        paths.send(active, sizes, rates, rng)
        probes[active] += sizes
        r = paths.r(active)
        warned.note(active[r >= m.gamma_warn], probes, seconds)
        high = active[r >= m.gamma_breach]
        breached.note(high, probes, seconds)
        seconds[active] += m.gap_seconds(paths.urgency(active))
        if len(high):
            in_strata = paths.fired(high)
            for law, mine in ((laws.suite, high[~in_strata]), (laws.strata, high[in_strata])):
                active = np.setdiff1d(active, _confirm(m, law, mine, rng, probes=probes, seconds=seconds))
            settled.note(np.setdiff1d(high, active), probes, seconds)
            paths.reset(high)
    return warned, breached, settled


def _confirm(
    m: Monitoring, law: ConfirmationLaw, rows: Ints, rng: np.random.Generator, *, probes: Floats, seconds: Floats
) -> Ints:
    """Add what the confirmations of these rows take, and return the rows that none of them dismissed."""
    taken, dismissed = law.draw(len(rows), rng)
    batches = np.ceil(taken / (1 - m.missing) / m.burst_batch)
    probes[rows] += batches * m.burst_batch
    seconds[rows] += (batches - 1) * m.gap_seconds(np.ones(len(rows)))
    return rows[~dismissed]


def _drifted(drift: Drift) -> StratumRates:
    rates = np.full(max(1, drift.strata), drift.before)
    rates[: max(1, drift.drifted)] = drift.before if drift.after is None else drift.after
    return StratumRates(by_stratum=rates)


class _Days:
    """The bound of a day's probes: what is over it waits for the next day."""

    def __init__(self, *, bound: float | None, of_day: Floats, idle: float) -> None:
        self._bound = bound
        self._began = of_day
        self._day = np.zeros(len(of_day))
        self._used = np.minimum(idle * of_day / DAY_SECONDS, math.inf if bound is None else bound)

    def allow(self, rows: Ints, sizes: Ints, seconds: Floats) -> tuple[Ints, Floats]:
        """Return the probes that may be sent, and when."""
        if self._bound is None:
            return sizes, seconds
        sizes = np.minimum(sizes, int(self._bound))
        day = np.floor((self._began[rows] + seconds) / DAY_SECONDS)
        used = np.where(day > self._day[rows], 0.0, self._used[rows])
        over = used + sizes > self._bound
        day = np.where(over, day + 1, day)
        seconds = np.where(over, day * DAY_SECONDS - self._began[rows], seconds)
        self._day[rows], self._used[rows] = day, np.where(over, 0.0, used) + sizes
        return sizes, seconds
