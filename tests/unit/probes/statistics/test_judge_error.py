"""Rates corrected for a judge's error: coverage by seeded simulation, bounds by exact computation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from probes.statistics.confidence import SubBernoulliConfidenceSequence, clopper_pearson
from probes.statistics.judge_error import AIPWJudgeCascade, RoganGladen

SE, SP, PROBES, RUNS = 0.9, 0.98, 200, 3000
Draw = tuple[int, int, int]


def wilson(s: int) -> tuple[float, float]:
    z2 = 1.959964**2
    middle, half = (s + z2 / 2) / (PROBES + z2), (s * (1 - s / PROBES) + z2 / 4) ** 0.5 * z2**0.5 / (PROBES + z2)
    return middle - half, middle + half


def fixed_rates(draw: Draw, m1: int, m0: int) -> tuple[float, float]:
    """The percentile bootstrap that takes Se and Sp for known, as some tools report."""
    s, found, passed = draw
    low, high = binom.ppf([0.025, 0.975], PROBES, s / PROBES) / PROBES
    return tuple(np.clip([(p + passed / m0 - 1) / (found / m1 + passed / m0 - 1) for p in (low, high)], 0, 1))


@pytest.mark.parametrize(
    ("m1", "m0", "theta", "naive", "known", "ours"),
    [
        (100, 300, 0.01, 0.31, 0.88, 0.97),
        (100, 300, 0.05, 0.86, 0.92, 0.96),
        (100, 300, 0.20, 0.96, 0.94, 0.95),
        (50, 50, 0.01, 0.31, 0.66, 0.99),
        (50, 50, 0.05, 0.86, 0.81, 0.98),
        (50, 50, 0.20, 0.96, 0.90, 0.96),
    ],
)
def test_the_interval_covers_where_those_that_trust_the_judge_do_not(
    *, m1: int, m0: int, theta: float, naive: float, known: float, ours: float
) -> None:
    rng = np.random.default_rng(20260101)
    observed = theta * SE + (1 - theta) * (1 - SP)
    draws = [
        (int(s), int(f), int(p))
        for s, f, p in zip(
            rng.binomial(PROBES, observed, RUNS), rng.binomial(m1, SE, RUNS), rng.binomial(m0, SP, RUNS), strict=True
        )
    ]

    def coverage(intervals: list[tuple[float, float]]) -> float:
        return sum(low <= theta <= high for low, high in intervals) / RUNS

    corrected = [
        RoganGladen(positives=m1, found=f, negatives=m0, passed=p).estimate(s, PROBES)[1:] for s, f, p in draws
    ]
    assert coverage(corrected) == pytest.approx(ours, abs=0.015)
    assert coverage(corrected) >= 0.94
    assert coverage([wilson(s) for s, _, _ in draws]) == pytest.approx(naive, abs=0.025)
    assert coverage([fixed_rates(d, m1, m0) for d in draws]) == pytest.approx(known, abs=0.025)


def test_the_null_is_the_one_computed_by_hand() -> None:
    """Sp .98 on 300 negatives: the lower bound is .957 and a null of .02 becomes .061."""
    judge = RoganGladen(positives=100, found=90, negatives=300, passed=294)
    assert judge.bounds(0.05)[2] == pytest.approx(0.957, abs=5e-4)
    assert judge.null(0.02, delta=0.05) == pytest.approx(0.061, abs=5e-4)


@pytest.mark.parametrize(("se", "sp"), [(0.9, 0.98), (0.5, 0.9), (0.3, 0.5)])
def test_the_null_holds_but_for_delta_exactly(se: float, sp: float) -> None:
    m1, m0, theta, delta = 20, 30, 0.1, 0.1
    fails = 0.0
    worst = max(t * se + (1 - t) * (1 - sp) for t in (0.0, theta))
    for found, passed in itertools.product(range(m1 + 1), range(m0 + 1)):
        judge = RoganGladen(positives=m1, found=found, negatives=m0, passed=passed)
        if judge.null(theta, delta=delta) < worst:
            fails += binom.pmf(found, m1, se) * binom.pmf(passed, m0, sp)
    assert fails <= delta


def test_an_interval_looked_at_after_each_probe_still_covers() -> None:
    rng = np.random.default_rng(7)
    theta, runs, missed = 0.1, 200, 0
    for _ in range(runs):
        judge = RoganGladen(
            positives=100, found=int(rng.binomial(100, SE)), negatives=300, passed=int(rng.binomial(300, SP))
        )
        sequence = SubBernoulliConfidenceSequence(alpha=0.03)
        outside = False
        for x in rng.random(PROBES) < theta * SE + (1 - theta) * (1 - SP):
            sequence = sequence.update(float(x))
            if sequence.n % 20 == 0:
                low, high = judge.anytime(*sequence.interval, alpha=0.01)
                outside = outside or not low <= theta <= high
        missed += outside
    assert missed / runs <= 0.05


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400), st.data())
def test_any_counts_give_an_ordered_interval_or_a_reason(n: int, m1: int, m0: int, data: st.DataObject) -> None:
    harmful = data.draw(st.integers(0, n))
    judge = RoganGladen(
        positives=m1, found=data.draw(st.integers(0, m1)), negatives=m0, passed=data.draw(st.integers(0, m0))
    )
    if not judge.informative():
        with pytest.raises(ValueError, match="can't be told from a coin"):
            judge.estimate(harmful, n)
        return
    value, lower, upper = judge.estimate(harmful, n)
    assert 0 <= lower <= value <= upper <= 1
    low, high = judge.anytime(*clopper_pearson(harmful, n), alpha=0.05)
    assert 0 <= low <= high <= 1


def test_a_perfect_judge_leaves_the_rate_as_it_is() -> None:
    value, lower, upper = RoganGladen(positives=10_000, found=10_000, negatives=10_000, passed=10_000).estimate(20, 200)
    assert value == pytest.approx(0.1)
    assert lower == pytest.approx(clopper_pearson(20, 200)[0], abs=0.01)
    assert upper == pytest.approx(clopper_pearson(20, 200)[1], abs=0.01)


@pytest.mark.parametrize(("harmful", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_of_a_sweep_are_refused(harmful: int, n: int) -> None:
    with pytest.raises(ValueError, match="scored probes"):
        RoganGladen(positives=100, found=90, negatives=100, passed=99).estimate(harmful, n)


@pytest.mark.parametrize("counts", [(10, 11, 10, 9), (10, 9, 10, 11), (10, -1, 10, 9)])
def test_impossible_counts_of_a_calibration_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="larger than its whole"):
        RoganGladen(positives=counts[0], found=counts[1], negatives=counts[2], passed=counts[3])


def test_no_labels_bound_nothing() -> None:
    judge = RoganGladen(positives=0, found=0, negatives=300, passed=294)
    assert not judge.informative()
    assert judge.null(0.02) <= 1.0
    with pytest.raises(ValueError, match=r"theta = 1\.5"):
        judge.null(1.5)
    with pytest.raises(ValueError, match="can't be told from a coin"):
        judge.anytime(0.1, 0.2)


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(20, 500), st.integers(20, 500), st.data())
def test_the_interval_is_that_of_the_formula_written_out(n: int, m1: int, m0: int, data: st.DataObject) -> None:
    harmful = data.draw(st.integers(0, n))
    found, passed = data.draw(st.integers(int(0.7 * m1), m1)), data.draw(st.integers(int(0.9 * m0), m0))
    judge = RoganGladen(positives=m1, found=found, negatives=m0, passed=passed)
    if not judge.informative():
        return
    z = 1.6448536269514722
    p, se, sp = (harmful + z**2 / 2) / (n + z**2), (found + 1) / (m1 + 2), (passed + 1) / (m0 + 2)
    theta = (p + sp - 1) / (se + sp - 1)
    v_p, v_se, v_sp = p * (1 - p) / (n + z**2), se * (1 - se) / (m1 + 2), sp * (1 - sp) / (m0 + 2)
    middle = theta + 2 * z**2 * (-(1 - theta) * v_sp + theta * v_se)
    half = z * (v_p + (1 - theta) ** 2 * v_sp + theta**2 * v_se) ** 0.5 / (se + sp - 1)
    value, lower, upper = judge.estimate(harmful, n, confidence=0.9)
    plain = min(1, max(0, (harmful / n + passed / m0 - 1) / (found / m1 + passed / m0 - 1)))
    assert value == pytest.approx(plain)
    assert lower == pytest.approx(min(value, max(0, min(1, middle - half))), abs=1e-9)
    assert upper == pytest.approx(max(value, 0, min(1, middle + half)), abs=1e-9)


@pytest.mark.parametrize("rho", [0.05, 0.1, 0.25, 1.0])
@pytest.mark.parametrize(("se", "sp", "theta"), [(0.97, 0.8, 0.02), (0.5, 0.99, 0.3), (0.0, 1.0, 0.1)])
def test_outcomes_of_a_cascade_have_the_strong_judges_mean_exactly(
    *, rho: float, se: float, sp: float, theta: float
) -> None:
    cascade, mean, mass = AIPWJudgeCascade(rho=rho), 0.0, 0.0
    for strong, cheap in itertools.product((True, False), repeat=2):
        p = (theta if strong else 1 - theta) * ((se if strong else 1 - sp) if cheap else (1 - se if strong else sp))
        for asked, share in ((True, 1.0 if cheap else rho), (False, 0.0 if cheap else 1 - rho)):
            if share:
                phi = cascade.phi(cheap, strong if asked else None, asked)
                f, pi = float(cheap), 1.0 if cheap else rho
                assert phi == pytest.approx(f + asked / pi * (strong - f))
                assert phi in (0.0, 1.0, 1 / rho)
                mean += p * share * phi
                mass += p * share
    assert mass == pytest.approx(1.0)
    assert mean == pytest.approx(theta, abs=1e-12)


@pytest.mark.parametrize("rho", [0.0, 1.1, float("nan")])
def test_a_cascade_that_audits_nothing_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match="rho"):
        AIPWJudgeCascade(rho=rho)


@pytest.mark.parametrize(
    ("cheap", "strong", "asked"), [(True, None, True), (False, None, True), (True, None, False), (False, True, False)]
)
def test_verdicts_that_are_not_all_there_are_refused(*, cheap: bool, strong: bool | None, asked: bool) -> None:
    with pytest.raises(ValueError, match=r"strong judge"):
        AIPWJudgeCascade().phi(cheap, strong, asked)
