"""Importance sampling against plain counting, where alarms are frequent enough to be counted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from probes.statistics.simulation.false_alarms import alarm_rate
from probes.statistics.simulation.monitoring import Drift, Monitoring
from probes.statistics.simulation.paths import StratumRates, new_paths
from probes.statistics.simulation.tilting import new_tilting, tilt_of
from probes.statistics.simulation.timeline import watch_healthy

WATCHED = Monitoring(
    p0=0.05, p1=0.2, gamma_warn=30, gamma_breach=100, interval_seconds=60, batch=1, burst_interval_seconds=60,
    burst_batch=1,
)  # fmt: skip


def counted(m: Monitoring, rate: float, strata: int, *, rows: int, batches: int) -> tuple[float, float]:
    """Count alarms for each batch on paths that begin anew after each; return the rate and its standard error."""
    rng = np.random.default_rng(99)
    paths, all_rows = new_paths(m, rows, strata), np.arange(rows)
    law = StratumRates(by_stratum=np.full(max(1, strata), rate))
    alarms = np.zeros(rows)
    for i in range(2 * batches):
        paths.send(all_rows, m.batch_size(paths.urgency(all_rows)), law, rng)
        alarmed = paths.r(all_rows) >= m.gamma_breach
        alarms += alarmed * (i >= batches)
        paths.reset(all_rows[alarmed])
    return float(alarms.mean()) / batches, float(alarms.std()) / math.sqrt(rows) / batches


@pytest.mark.parametrize(("rate", "strata", "batch"), [(0.05, 0, 1), (0.03, 0, 4), (0.05, 5, 1), (0.03, 5, 4)])
def test_it_agrees_with_counting(rate: float, strata: int, batch: int) -> None:
    m = replace(WATCHED, batch=batch, burst_batch=2 * batch)
    healthy = watch_healthy(m, Drift(before=rate, strata=strata), 2000, np.random.default_rng(7))
    sampled = alarm_rate(healthy.paths, healthy.tilting, np.random.default_rng(8))
    value, error = counted(m, rate, strata, rows=1500, batches=max(60, 300 // batch))
    assert abs(sampled.value - value) <= 3 * math.hypot(error, sampled.standard_error)
    assert sampled.standard_error < 0.2 * sampled.value
    assert sampled.value / healthy.probes_per_batch <= 1 / m.gamma_breach


def test_it_tells_rates_that_counting_could_never_see() -> None:
    """Cramer: the rate falls as gamma to the power -theta, the smallest over the alternatives."""
    found = []
    for gamma in (1e4, 1e8):
        m = replace(WATCHED, gamma_breach=gamma)
        healthy = watch_healthy(m, Drift(before=0.02), 3000, np.random.default_rng(9))
        found.append(alarm_rate(healthy.paths, healthy.tilting, np.random.default_rng(10)).value)
    survey, _ = WATCHED.detectors(strata=False)
    theta = tilt_of(survey, 0.02).theta
    assert theta > 1.2
    assert math.log(found[0] / found[1]) / math.log(1e4) == pytest.approx(theta, rel=0.05)


def test_without_overshoot_the_rate_at_p0_is_that_of_the_theorem() -> None:
    """min(R, gamma) grows by 1 in mean at p0 but for what is clipped: an alarm in gamma probes, hardly less."""
    m = replace(WATCHED, gamma_breach=1e6)
    healthy = watch_healthy(m, Drift(before=0.05), 2000, np.random.default_rng(11))
    found = alarm_rate(healthy.paths, healthy.tilting, np.random.default_rng(12))
    assert found.standard_error < 0.02e-6
    assert found.value - 3 * found.standard_error <= 1e-6
    assert found.value + 3 * found.standard_error >= 0.95e-6


@pytest.mark.parametrize("rate", [0.05, 0.03, 1e-4])
def test_a_tilt_makes_the_mean_of_the_tilted_ratio_one(rate: float) -> None:
    detector, _ = WATCHED.detectors(strata=False)
    tilt, thetas = tilt_of(detector, rate), []
    for q, tilted in zip(detector.q, tilt.q, strict=True):
        theta = math.log(tilted / rate) / math.log(q / 0.05)
        thetas.append(theta)
        assert rate * (q / 0.05) ** theta + (1 - rate) * ((1 - q) / 0.95) ** theta == pytest.approx(1)
    assert tilt.theta == pytest.approx(min(thetas))
    assert tilt.theta >= 1
    assert rate < 0.05 or tilt.q == pytest.approx(detector.q)


def test_verdicts_without_rates_are_refused() -> None:
    paths = new_paths(WATCHED, 6, 0)
    survey, stratum = (tilt_of(detector, 0.02) for detector in WATCHED.detectors(strata=False))
    rows, said = np.arange(6), np.zeros(6, dtype=bool)
    with pytest.raises(ValueError, match="before their rates"):
        new_tilting(paths.evidence, (survey, stratum), 0.02).learn(rows, rows, said, np.ones(len(rows), dtype=bool))
