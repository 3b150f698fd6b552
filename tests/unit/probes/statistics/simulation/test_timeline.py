"""Courses in time: against the library's detectors probe by probe, and against the schedule's own arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from probes.statistics.detectors import ShiryaevRobertsEDetector
from probes.statistics.simulation.confirmation import ConfirmationLaw
from probes.statistics.simulation.monitoring import DAY_SECONDS, Drift, Monitoring
from probes.statistics.simulation.timeline import Confirmations, Passage, follow_drift, watch_healthy

STEADY = Monitoring(
    p0=0.1, p1=0.3, gamma_warn=1e2, gamma_breach=1e4, interval_seconds=60, batch=1, burst_interval_seconds=60,
    burst_batch=1,
)  # fmt: skip
DRIFT = Drift(before=0.02, after=0.5)
RUNS = 400


SURE = ConfirmationLaw(confirmed_at=np.array([0.0, 1.0]), dismissed_at=np.zeros(2), undecided=0.0)
"""Confirms at the first probe."""


def followed(
    m: Monitoring, drift: Drift = DRIFT, law: ConfirmationLaw = SURE
) -> tuple[Passage, Passage, Passage]:
    rng = np.random.default_rng(11)
    return follow_drift(watch_healthy(m, drift, RUNS, rng), drift, Confirmations(suite=law, strata=law), rng)


def test_delays_are_those_of_the_library_probe_by_probe() -> None:
    rng = np.random.default_rng(12)
    delays = []
    for _ in range(RUNS):
        detector, n = ShiryaevRobertsEDetector.tilted(p0=0.1, p1=0.3, gamma=1e4), 0
        for x in rng.random(60) < DRIFT.before:
            detector = detector.update(x)
        while detector.log_r < math.log(1e4):
            detector, n = detector.update(rng.random() < 0.5), n + 1
        delays.append(n)
    _, found, _ = followed(STEADY)
    error = math.hypot(float(np.std(delays)), float(found.probes.std())) / math.sqrt(RUNS)
    assert abs(float(np.mean(delays)) - float(found.probes.mean())) <= 3 * error


def test_time_is_the_probes_times_the_interval_less_what_was_waited_before() -> None:
    warned, found, _ = followed(STEADY)
    for passage in (warned, found):
        waited = passage.seconds - (passage.probes - 1) * 60
        assert ((waited >= 0) & (waited < 60)).all()
    assert (warned.probes <= found.probes).all()
    assert abs(float((found.seconds - (found.probes - 1) * 60).mean()) - 30) <= 3 * 60 / math.sqrt(12 * RUNS)


def test_a_confirmation_costs_its_batches_and_a_dismissal_begins_anew() -> None:
    m = replace(STEADY, burst_batch=4, burst_interval_seconds=10)
    sure = ConfirmationLaw(confirmed_at=np.eye(1, 11, 9)[0], dismissed_at=np.zeros(11), undecided=0.0)
    _, found, settled = followed(m, law=sure)
    assert (settled.probes - found.probes == 12).all(), "nine probes are three batches of four"
    assert settled.seconds - found.seconds == pytest.approx(30)
    doubtful = ConfirmationLaw(confirmed_at=sure.confirmed_at / 2, dismissed_at=sure.confirmed_at / 2, undecided=0.0)
    _, found, settled = followed(m, law=doubtful)
    taken = settled.probes - found.probes
    assert abs(float((taken == 12).mean()) - 0.5) <= 3 * 0.5 / math.sqrt(RUNS)
    assert np.isfinite(taken).all()
    assert (taken[taken > 12] <= 24 + 8).mean() < 0.25, "a second breach needs evidence of its own"


def test_a_breach_is_confirmed_where_it_stands() -> None:
    m = replace(STEADY, batch=4, burst_batch=4, burst_interval_seconds=10)
    slow = ConfirmationLaw(confirmed_at=np.eye(1, 41, 40)[0], dismissed_at=np.zeros(41), undecided=0.0)
    rng, shares = np.random.default_rng(13), []
    for drift in (Drift(before=0.02, after=0.6, strata=30, drifted=1), Drift(before=0.02, after=0.9)):
        laws = Confirmations(suite=slow, strata=SURE)
        _, found, settled = follow_drift(watch_healthy(m, drift, RUNS, rng), drift, laws, rng)
        taken = settled.probes - found.probes
        assert set(taken.tolist()) <= {4.0, 40.0}
        shares.append(float((taken == 4).mean()))
    assert shares[0] > 0.8
    assert shares[1] == 0


def test_evidence_quickens_the_schedule() -> None:
    quick = replace(STEADY, batch=4, burst_batch=16, burst_interval_seconds=5)
    assert quick.batch_size(quick.urgency(np.array([0.0, 1.0, 10.0, 1e2, 1e9]))).tolist() == [4, 4, 8, 16, 16]
    gaps = quick.gap_seconds(quick.urgency(np.array([0.0, 10.0, 1e2])))
    assert gaps == pytest.approx([60, math.sqrt(60 * 5), 5])
    assert quick.probes_a_day(0.0) == pytest.approx(5760)
    assert followed(quick)[1].quantile(0.5)[1] < followed(STEADY)[1].quantile(0.5)[1] / 4


def test_requests_a_minute_stretch_a_burst() -> None:
    bound = replace(STEADY, batch=4, burst_batch=16, burst_interval_seconds=5, requests_per_minute=8)
    assert bound.gap_seconds(np.array([0.0, 1.0])) == pytest.approx([60, 120])
    assert bound.probes_a_day(1.0) == pytest.approx(8 * 60 * 24)


def test_a_day_sends_no_more_than_its_bound() -> None:
    m = replace(STEADY, batch=4, burst_batch=4, probes_per_day=10)
    _, found, _ = followed(m)
    nights = np.ceil(found.seconds / DAY_SECONDS)
    assert (found.probes <= 8 * (nights + 1)).all(), "two batches of four fit into a day"
    assert (found.probes >= 8 * (nights - 1)).all(), "and are sent in each"
    assert found.quantile(0.5)[1] > DAY_SECONDS
    assert m.probes_a_day(0.0) == 10


def test_hunting_finds_one_stratum_sooner_than_drawing_does() -> None:
    drift, m = Drift(before=0.02, after=0.95, strata=20, drifted=1), replace(STEADY, batch=4, burst_batch=4)
    hunted = followed(m, drift)[1].probes
    drawn = followed(replace(m, epsilon=1.0), drift)[1].probes
    assert float(hunted.mean()) + 3 * float(hunted.std()) / math.sqrt(RUNS) < float(drawn.mean())


def test_what_is_not_reached_is_infinitely_far() -> None:
    passage = Passage(probes=np.array([3.0, np.inf, 1.0, 2.0]), seconds=np.array([30.0, np.inf, 10.0, 20.0]))
    assert passage.quantile(0.5) == (2.0, 20.0)
    assert passage.quantile(0.75) == (3.0, 30.0)
    assert passage.quantile(0.9) == (math.inf, math.inf)
    assert passage.within(20.0) == 0.5
