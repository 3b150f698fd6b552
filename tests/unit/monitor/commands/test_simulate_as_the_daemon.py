"""What is simulated is the daemon's own arithmetic: thresholds, schedule, hunts and nulls."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from monitor.baseline import Baseline, Tally
from monitor.policy import Rates, Schedule, pace
from monitor.probe_log import Epoch
from monitor.watch import SURVEY, Watch, new_watch
from probes.statistics.detectors import ShiryaevRobertsEDetector, raised_alternative
from probes.statistics.simulation.monitoring import Monitoring
from probes.statistics.simulation.paths import new_paths

RATES = Rates(
    p0=0.10, p1=0.30, gamma_warn=1e4, gamma_breach=1e6, alpha=1e-3, beta=1e-2, theta=0.2, delta=0.01, cap=400
)
SCHEDULE = Schedule(interval_seconds=60.0, batch=4, burst_interval_seconds=5.0, burst_batch=16)
NAMES = [f"c{k}/direct" for k in range(8)]
BASELINE = Baseline(release="good", strata={name: Tally(n=60) for name in NAMES})


def watch(*, strata: bool) -> Watch:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    baseline = BASELINE if strata else None
    return new_watch(RATES, Epoch(id=1, target="t", release="r", key="k", started_at=now, baseline=baseline))


def simulated(*, strata: bool) -> Monitoring:
    s = SCHEDULE
    return Monitoring(
        p0=RATES.p0, p1=RATES.p1, gamma_warn=RATES.gamma_warn, gamma_breach=RATES.gamma_breach,
        interval_seconds=s.interval_seconds, batch=s.batch, burst_interval_seconds=s.burst_interval_seconds,
        burst_batch=s.burst_batch, stratum_p0=BASELINE.nulls(RATES.p0)[NAMES[0]] if strata else None,
        epsilon=RATES.epsilon,
    )  # fmt: skip


def what(detector: ShiryaevRobertsEDetector) -> tuple[object, ...]:
    return detector.p0, detector.q, detector.w, detector.gamma


@pytest.mark.parametrize("strata", [False, True])
def test_detectors_have_its_nulls_alternatives_and_aims(*, strata: bool) -> None:
    daemon = watch(strata=strata)
    pooled, stratum = simulated(strata=strata).detectors(strata=strata)
    assert what(pooled) == what(daemon.survey)
    assert simulated(strata=strata).flat == daemon.flat or not strata
    if strata:
        assert what(stratum) == what(daemon.strata.update(NAMES[0], 0.0).strata[NAMES[0]])
        assert stratum.q[0] == raised_alternative(stratum.p0, p0=RATES.p0, p1=RATES.p1), "confirmed against this"


@pytest.mark.parametrize("r", [0.0, 0.5, 1.0, 30.0, 1e4, 1e5])
@pytest.mark.parametrize("strata", [False, True])
def test_urgency_and_pace_are_its_own(r: float, *, strata: bool) -> None:
    daemon, m = watch(strata=strata), simulated(strata=strata)
    log_m = tuple([math.log(r) if r else -math.inf] * 3)
    daemon = replace(daemon, survey=replace(daemon.survey, log_m=log_m))
    urgency = m.urgency(np.array([r / 2 if strata else r]))
    assert urgency == pytest.approx([daemon.urgency])
    seconds, n = pace(SCHEDULE, daemon.urgency)
    assert m.gap_seconds(urgency) == pytest.approx([seconds])
    assert m.batch_size(urgency).tolist() == [n]


def test_hunts_begin_where_its_own_do() -> None:
    daemon, shares = watch(strata=True), dict.fromkeys(NAMES, 1 / len(NAMES))
    fresh = daemon.strata.update(NAMES[2], 0.0)
    for r, share in ((1.01, 0.5 + 0.5 / 8), (0.99, 1 / 8)):
        stands = replace(fresh.strata[NAMES[2]], log_m=tuple([math.log(r)] * 3))
        found = replace(daemon, strata=replace(fresh, strata={NAMES[2]: stands})).probabilities(shares)
        assert found[NAMES[2]] == pytest.approx(share)


@pytest.mark.parametrize(("pooled", "own"), [(2e6, 3e6), (1e5, 3e6), (1.9e6, 1e6), (5e5, 1e5), (1e5, 1.9e6)])
def test_a_breach_stands_where_its_own_does(pooled: float, own: float) -> None:
    daemon, m = watch(strata=True), simulated(strata=True)
    survey, strata = daemon.survey, daemon.strata.update(NAMES[2], 0.0)
    stands = replace(strata.strata[NAMES[2]], log_m=tuple([math.log(own)] * 3))
    found = replace(
        daemon,
        survey=replace(survey, log_m=tuple([math.log(pooled)] * 3)),
        strata=replace(strata, strata={NAMES[2]: stands}),
    )
    paths = new_paths(m, 1, len(NAMES))
    paths.evidence.pooled[:] = pooled
    paths.own[0, 2] = own
    assert paths.fired(np.array([0])).tolist() == [SURVEY not in found.fired]
