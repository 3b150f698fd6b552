"""The recursions as arrays are the library's own detectors, row by row."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from probes.statistics.detectors import ShiryaevRobertsEDetector, StratifiedEDetector
from probes.statistics.simulation.monitoring import Monitoring
from probes.statistics.simulation.paths import Paths, StratumRates, new_paths

ROWS, STRATA = 6, 4
WATCHED = Monitoring(
    p0=0.05, p1=0.2, gamma_warn=1e2, gamma_breach=1e4, interval_seconds=60, batch=3, burst_interval_seconds=5,
    burst_batch=7,
)  # fmt: skip
Probe = tuple[int, bool, bool]


def watched(paths: Paths, rate: float, rng: np.random.Generator, *, batches: int = 12) -> list[list[Probe]]:
    """Send batches and write down what each row's probes were: stratum, verdict, whether it counts for the suite."""
    logs: list[list[Probe]] = [[] for _ in range(ROWS)]
    update = paths.evidence.update

    class Spy:
        bets, pooled, strata = paths.evidence.bets, paths.evidence.pooled, paths.evidence.strata

        def update(self, rows: np.ndarray, stratum: np.ndarray, x: np.ndarray, whole: np.ndarray) -> np.ndarray:
            for row, k, verdict, counts in zip(rows, stratum, x, whole, strict=True):
                logs[row].append((int(k), bool(verdict), bool(counts)))
            return update(rows, stratum, x, whole)

    law = StratumRates(by_stratum=np.full(max(1, paths.own.shape[1]), rate))
    spied = replace(paths, evidence=Spy())
    rows = np.arange(ROWS)
    for _ in range(batches):
        spied.send(rows, WATCHED.batch_size(spied.urgency(rows)), law, rng)
    return logs


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_without_strata_it_is_one_detector(rate: float) -> None:
    paths = new_paths(WATCHED, ROWS, 0)
    logs = watched(paths, rate, np.random.default_rng(1))
    for row, log in enumerate(logs):
        detector = ShiryaevRobertsEDetector.tilted(p0=WATCHED.p0, p1=WATCHED.p1, gamma=1e4)
        for _, x, _ in log:
            detector = detector.update(x)
        assert paths.r(np.array([row])) == pytest.approx([math.exp(detector.log_r)], rel=1e-9)
    assert len({len(log) for log in logs}) > 1 or rate == 0.9, "evidence enlarges batches"


@pytest.mark.parametrize("stratum_p0", [None, 0.02, 0.19])
@pytest.mark.parametrize("rate", [0.04, 0.3])
def test_with_strata_it_is_half_of_all_and_half_the_sum_over_strata(rate: float, stratum_p0: float | None) -> None:
    m = replace(WATCHED, stratum_p0=stratum_p0)
    paths = new_paths(m, ROWS, STRATA)
    logs = watched(paths, rate, np.random.default_rng(2))
    rows = paths.r(np.arange(ROWS))
    for row, log in enumerate(logs):
        nulls = {} if stratum_p0 is None else {f"s{k}": stratum_p0 for k in range(STRATA)}
        strata = StratifiedEDetector(p0=m.p0, p1=m.p1, nulls=nulls, gamma_breach=2e4)
        pooled = ShiryaevRobertsEDetector.tilted(m.p0, m.p1, gamma=2e4)
        for k, x, whole in log:
            strata = strata.update(f"s{k}", x)
            pooled = pooled.update(x) if whole else pooled
        assert rows[row] == pytest.approx(0.5 * math.exp(pooled.log_r) + 0.5 * math.exp(strata.log_r), rel=1e-9)
        own = [math.exp(strata.log_r_of(f"s{k}")) for k in range(STRATA)]
        assert paths.own[row] == pytest.approx(own, rel=1e-9)


@pytest.mark.parametrize(("own", "share"), [(1.01, 0.5), (0.99, 0.0)])
def test_hunts_go_to_the_stratum_with_evidence_and_the_survey_takes_turns(own: float, share: float) -> None:
    rows, n = np.arange(400), 10 * STRATA
    paths = new_paths(WATCHED, 400, STRATA)
    paths.own[:, 2] = own
    counted = np.zeros((400, STRATA))

    class Counting(StratumRates):
        def learn(self, rows: np.ndarray, stratum: np.ndarray, x: np.ndarray, whole: np.ndarray) -> None:
            np.add.at(counted, (rows, stratum), 1)

    paths.send(rows, np.full(400, n), Counting(by_stratum=np.zeros(STRATA)), np.random.default_rng(4))
    others = counted[:, [0, 1, 3]]
    assert (np.ptp(others, axis=1) <= 1).all(), "in turn"
    hunted = counted[:, 2] - others.mean(axis=1)
    assert abs(hunted.mean() - share * n) <= 3 * math.sqrt(share * (1 - share) * n / 400) + 1


def test_missing_probes_tell_nothing() -> None:
    paths = new_paths(replace(WATCHED, missing=0.999999), ROWS, STRATA)
    watched(paths, 0.9, np.random.default_rng(5))
    assert not paths.r(np.arange(ROWS)).any()


def test_copies_are_apart_and_a_reset_drops_evidence() -> None:
    paths = new_paths(WATCHED, ROWS, STRATA)
    watched(paths, 0.5, np.random.default_rng(6))
    before = paths.r(np.arange(ROWS))
    copy = paths.take(np.arange(ROWS))
    copy.reset(np.array([1]))
    assert copy.r(np.array([1])) == 0.0
    assert not copy.own[1].any()
    assert (paths.r(np.arange(ROWS)) == before).all()
