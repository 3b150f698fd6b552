"""The recursions as arrays are the library's own detectors, row by row."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from probes.statistics.detectors import ShiryaevRobertsEDetector, StratifiedEDetector
from probes.statistics.simulation.monitoring import Monitoring
from probes.statistics.simulation.paths import Paths, StratumRates, new_paths
from probes.statistics.simulation.recursion import Recursion

ROWS, STRATA = 6, 4
WATCHED = Monitoring(
    p0=0.05, p1=0.2, gamma_warn=1e2, gamma_breach=1e4, interval_seconds=60, batch=3, burst_interval_seconds=5,
    burst_batch=7,
)  # fmt: skip
Probe = tuple[int, bool, bool]


def watched(paths: Paths, rate: float, rng: np.random.Generator, *, batches: int = 12) -> list[list[Probe]]:
    """Send batches and write down what each row's probes were: stratum, verdict, whether a survey draw."""
    logs: list[list[Probe]] = [[] for _ in range(ROWS)]
    update = paths.evidence.update

    class Spy:
        bets, survey, strata = paths.evidence.bets, paths.evidence.survey, paths.evidence.strata

        def update(
            self, rows: np.ndarray, stratum: np.ndarray, x: np.ndarray, surveyed: np.ndarray,
        ) -> np.ndarray:
            for row, k, verdict, drawn in zip(rows, stratum, x, surveyed, strict=True):
                logs[row].append((int(k), bool(verdict), bool(drawn)))
            return update(rows, stratum, x, surveyed)

    law = StratumRates(by_stratum=np.full(max(1, paths.own.shape[1]), rate))
    spied = replace(paths, evidence=Spy())
    rows = np.arange(ROWS)
    for _ in range(batches):
        spied.send(rows, WATCHED.batch_size(spied.urgency(rows)), law, rng)
    return logs


def survey_of(log: list[Probe], aim: float) -> ShiryaevRobertsEDetector:
    detector = ShiryaevRobertsEDetector.tilted(p0=WATCHED.p0, p1=WATCHED.p1, gamma=aim)
    for _, x, drawn in log:
        detector = detector.update(x) if drawn else detector
    return detector


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_without_strata_it_is_one_detector(rate: float) -> None:
    paths = new_paths(WATCHED, ROWS, 0)
    logs = watched(paths, rate, np.random.default_rng(1))
    expected = [math.exp(survey_of(log, 1e4).log_r) for log in logs]
    assert paths.r(np.arange(ROWS)) == pytest.approx(expected, rel=1e-9)
    assert len({len(log) for log in logs}) > 1 or rate == 0.9, "evidence enlarges batches"


@pytest.mark.parametrize("stratum_p0", [None, 0.02, 0.19])
@pytest.mark.parametrize("rate", [0.04, 0.3])
def test_with_strata_it_is_half_the_survey_and_half_the_sum_over_strata(rate: float, stratum_p0: float | None) -> None:
    m = replace(WATCHED, stratum_p0=stratum_p0)
    paths = new_paths(m, ROWS, STRATA)
    logs = watched(paths, rate, np.random.default_rng(2))
    rows = paths.r(np.arange(ROWS))
    for row, log in enumerate(logs):
        nulls = {} if stratum_p0 is None else {f"s{k}": stratum_p0 for k in range(STRATA)}
        strata = StratifiedEDetector(p0=m.p0, p1=m.p1, nulls=nulls, gamma_breach=2e4)
        for k, x, _ in log:
            strata = strata.update(f"s{k}", x)
        survey = survey_of(log, 2e4)
        assert rows[row] == pytest.approx(0.5 * math.exp(survey.log_r) + 0.5 * math.exp(strata.log_r), rel=1e-9)
        own = [math.exp(strata.log_r_of(f"s{k}")) for k in range(STRATA)]
        assert paths.own[row] == pytest.approx(own, rel=1e-9)


class HuntsMeetHarm:
    """Verdicts are harmful where the stratum was not drawn but chosen."""

    def rates(self, evidence: Recursion, rows: np.ndarray, stratum: np.ndarray, surveyed: np.ndarray) -> np.ndarray:
        return np.where(surveyed, 0.0, 1.0)

    def learn(self, rows: np.ndarray, stratum: np.ndarray, x: np.ndarray, surveyed: np.ndarray) -> None:
        pass


def test_hunts_go_to_the_stratum_with_evidence_and_only_where_one_has_some() -> None:
    rows = np.arange(400)
    for own, share in ((1.01, 0.5), (0.99, 0.0)):
        paths = new_paths(WATCHED, 400, STRATA)
        paths.own[:, 2] = own
        paths.send(rows, np.ones(400, dtype=np.int64), HuntsMeetHarm(), np.random.default_rng(4))
        hunted = paths.evidence.strata[:, 2, 0] > 0
        assert abs(hunted.mean() - share) <= 3 * math.sqrt(share * (1 - share) / 400)
        assert not paths.evidence.strata[:, [0, 1, 3]].any()
        assert not paths.evidence.survey[hunted].any(), "a hunt says nothing of the suite"


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
