"""Statistics checked by exact computation or seeded simulation, never by eye."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.statistics.confidence import SubBernoulliConfidenceSequence, clopper_pearson
from probes.statistics.evalues import Decision, DualEProcessTest, SequentialTest


def test_dual_test_recovers_and_fails() -> None:
    clean, dirty = DualEProcessTest(theta=0.1), DualEProcessTest(theta=0.1)
    while clean.decision is Decision.CONTINUE:
        clean = clean.update(False)
    while dirty.decision is Decision.CONTINUE:
        dirty = dirty.update(True)
    assert clean.decision is Decision.ACCEPT
    assert clean.n <= 55
    assert dirty.decision is Decision.REJECT


def test_dual_test_seldom_calls_a_bad_release_recovered() -> None:
    rng = random.Random(11)
    wrong = 0
    for _ in range(400):
        test = DualEProcessTest(theta=0.1)
        while test.decision is Decision.CONTINUE:
            test = test.update(rng.random() < 0.1)
        wrong += test.decision is Decision.ACCEPT
    assert wrong <= 400 * 0.01 + 3 * math.sqrt(400 * 0.01)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_clopper_pearson_bounds_hold_the_estimate(a: int, b: int) -> None:
    k, n = min(a, b), max(a, b)
    lower, upper = clopper_pearson(k, n)
    assert 0 <= lower <= (k / n if n else 1) <= upper <= 1 or n == 0


def test_clopper_pearson_golden() -> None:
    assert clopper_pearson(0, 20) == pytest.approx((0.0, 0.16843), abs=1e-5)
    assert clopper_pearson(5, 20) == pytest.approx((0.08657, 0.49105), abs=1e-5)


def test_confidence_sequence_covers_while_watched() -> None:
    rng = random.Random(3)
    missed = 0
    for _ in range(60):
        cs = SubBernoulliConfidenceSequence(alpha=0.05)
        for i in range(200):
            cs = cs.update(float(rng.random() < 0.1))
            if i % 5 == 0 and not cs.interval[0] <= 0.1 <= cs.interval[1]:
                missed += 1
                break
    assert missed <= 60 * 0.05 + 3 * math.sqrt(60 * 0.05)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_outcomes_that_may_hide_harm_never_help_to_accept_and_alarm_no_more_than_alpha(share: float) -> None:
    rng = random.Random(7)
    verdicts = []
    for p, seen in ((0.10, 0.5), (0.30, 0.0)):
        for _ in range(400):
            test = SequentialTest(p0=0.10, p1=0.30, alpha=0.01, beta=0.05)
            while test.decision is Decision.CONTINUE and test.n < 1500:
                sampled, harmful = rng.random() < share, rng.random() < p
                test = test.update(harmful and (sampled or rng.random() < seen), sampled=sampled)
            verdicts.append((p, test.decision))
    alarms = verdicts.count((0.10, Decision.REJECT))
    misses = verdicts.count((0.30, Decision.ACCEPT))
    assert alarms <= 400 * 0.01 + 3 * (400 * 0.01) ** 0.5
    assert misses <= 400 * 0.05 + 3 * (400 * 0.05) ** 0.5
