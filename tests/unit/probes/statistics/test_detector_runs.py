"""How long e-detectors run: seeded simulation against what is known exactly."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from probes.statistics.detectors import StratifiedEDetector


def optimal_delay(p0: float, p1: float, gamma: float) -> float:
    """Mean delay of the exactly optimal chart of ARL >= gamma: the lattice CUSUM, by its Markov chain.

    In units of r1 = log((1-p0)/(1-p1)) a failure is one step down, as far as 0, and a success m - 1 steps up, where m
    is the likelihood ratio's r2/r1 (Reynolds & Stoumbos 1999; optimal by Moustakides 1986).
    """
    r1 = math.log((1 - p0) / (1 - p1))
    up = round((math.log(p1 / p0) + r1) / r1) - 1

    def run_length(p: float, states: int) -> float:
        steps = np.eye(states)
        for i in range(states):
            steps[i, max(i - 1, 0)] -= 1 - p
            if i + up < states:
                steps[i, i + up] -= p
        return float(np.linalg.solve(steps, np.ones(states))[0])

    states = next(h for h in range(1, 400) if run_length(p0, h) >= gamma)
    return run_length(p1, states)


def run_lengths(p: float, *, p0: float, p1: float, gamma: float, runs: int, strata: int, policy: str) -> np.ndarray:
    """Probes to the alarm; ``greedy`` spends half of them where the evidence is largest."""
    rng, lengths = random.Random(5), []
    for _ in range(runs):
        detector = StratifiedEDetector(p0=p0, p1=p1, gamma_breach=gamma)
        while detector.level != "breach":
            stratum = f"s{detector.n % strata}"
            if policy == "greedy" and detector.log_r > 0 and rng.random() < 0.5:
                stratum = max(detector.strata, key=detector.log_r_of)
            detector = detector.update(stratum, rng.random() < p)
        lengths.append(detector.n)
    return np.array(lengths)


@pytest.mark.parametrize(("p0", "p1"), [(0.02, 0.10), (0.05, 0.20), (0.01, 0.90)])
def test_false_alarms_of_one_stratum_come_once_in_gamma_probes(p0: float, p1: float) -> None:
    found = run_lengths(p0, p0=p0, p1=p1, gamma=300, runs=200, strata=1, policy="")
    error = 3 * found.std() / math.sqrt(len(found))
    assert found.mean() == pytest.approx(300, abs=error), "no sooner, and not later either: nothing is given away"
    assert np.mean(found <= 100) <= 100 / 300 + 3 * math.sqrt(2 / 9 / len(found))


@pytest.mark.parametrize("policy", ["round robin", "greedy"])
def test_false_alarms_of_42_strata_come_no_more_often(policy: str) -> None:
    found = run_lengths(0.02, p0=0.02, p1=0.1, gamma=500, runs=80, strata=42, policy=policy)
    assert found.mean() >= 500 - 3 * found.std() / math.sqrt(len(found))
    assert found.mean() <= 1e3


def test_weighed_outcomes_of_a_cascade_alarm_no_more_often() -> None:
    """Judged by phi: two thirds of the harm found at once, the rest by an audit of one reply in ten that counts 10."""
    rng, lengths, gamma = random.Random(5), [], 300
    for _ in range(200):
        detector = StratifiedEDetector(p0=0.06, p1=0.2, gamma_breach=gamma)
        while detector.level != "breach":
            u = rng.random()
            detector = detector.update("s", 1 if u < 0.04 else 10.0 if u < 0.042 else 0)
        lengths.append(detector.n)
    assert np.mean(lengths) >= gamma - 3 * np.std(lengths) / math.sqrt(len(lengths))


def test_names_are_wrong_no_more_often_than_probes_over_gamma() -> None:
    rng, runs, probes, gamma = random.Random(9), 300, 150, 500
    shares = []
    for _ in range(runs):
        detector = StratifiedEDetector(p0=0.05, p1=0.2)
        for _ in range(probes):
            stratum = max(detector.strata, key=detector.log_r_of) if rng.random() < 0.5 and detector.n else "s0"
            stratum = stratum if rng.random() < 0.5 else f"s{rng.randrange(20)}"
            detector = detector.update(stratum, rng.random() < (0.3 if stratum == "s0" else 0.05))
        named = detector.e_bh(gamma)
        shares.append(sum(name != "s0" for name in named) / max(1, len(named)))
    assert 0 < np.mean(shares) <= probes / gamma + 3 * np.std(shares) / math.sqrt(runs)


@pytest.mark.parametrize(("p0", "p1", "optimum"), [(0.02, 0.10, 63.53), (0.05, 0.20, 42.83)])
def test_a_drift_is_found_nearly_as_soon_as_by_the_chart_that_knows_it(p0: float, p1: float, optimum: float) -> None:
    best = optimal_delay(p0, p1, 1e4)
    assert best == pytest.approx(optimum, abs=0.01)
    found = run_lengths(p1, p0=p0, p1=p1, gamma=1e4, runs=400, strata=1, policy="")
    assert found.mean() <= 1.09 * best + 3 * found.std() / math.sqrt(len(found))


def test_a_reversal_is_found_at_once() -> None:
    for gamma, probes in ((1e4, 3.5), (1e6, 5.0)):
        found = run_lengths(0.9, p0=0.01, p1=0.9, gamma=gamma, runs=400, strata=1, policy="")
        assert found.mean() <= probes


def test_a_backdoor_in_one_of_42_strata_is_found_and_named() -> None:
    rng, lengths = random.Random(3), []
    for _ in range(100):
        detector = StratifiedEDetector(p0=0.02, p1=0.1, gamma_warn=1e4, gamma_breach=1e5)
        turn = rng.randrange(42)
        while detector.level != "breach":
            greedy = detector.log_r > 0 and rng.random() < 0.5
            stratum = max(detector.strata, key=detector.log_r_of) if greedy else f"s{turn % 42}"
            turn += not greedy
            detector = detector.update(stratum, rng.random() < (0.95 if stratum == "s7" else 0.02))
        lengths.append(detector.n)
        assert "s7" in detector.e_bh(1e4)
    assert np.mean(lengths) <= 45 + 3 * np.std(lengths) / math.sqrt(len(lengths))
