"""Bets on a mean: exact mean of each factor, miscoverage by seeded simulation of a naive second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.statistics.betting import BettingConfidenceSequence, BettingEProcess

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)


def wealth(x: np.ndarray, m: float, *, sides: tuple[int, ...] = (1, -1)) -> np.ndarray:
    """Log of the mean over all bets of the running products prod(1 + l (x - m)), in each row; x and m in [0, 1]."""
    bets = [f / m if side > 0 else -f / (1 - m) for side in sides for f in FRACTIONS]
    return np.asarray(
        np.logaddexp.reduce([np.cumsum(np.log1p(bet * (x - m)), axis=-1) for bet in bets]) - math.log(len(bets))
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.01, 0.99), st.booleans())
def test_evidence_is_that_of_the_naive_products(x: list[float], m0: float, above: bool) -> None:
    process = BettingEProcess(m0=m0, above=above)
    for value in x:
        process = process.update(value)
    assert process.n == len(x)
    assert process.log_e == pytest.approx(wealth(np.array(x), m0, sides=(1 if above else -1,))[-1], abs=1e-8)


@pytest.mark.parametrize(("upper", "above"), [(1.0, True), (1.0, False), (10.0, True), (10.0, False), (math.inf, True)])
def test_factors_have_mean_one_at_the_null_exactly(*, upper: float, above: bool) -> None:
    process = BettingEProcess(m0=0.3, upper=upper, above=above)
    for low, high in ((0.0, 1.0), (0.1, 0.9), (0.0, min(upper, 10.0))):
        p = (0.3 - low) / (high - low)
        for a, b in zip(process.update(high).log_wealth, process.update(low).log_wealth, strict=True):
            assert p * math.exp(a) + (1 - p) * math.exp(b) == pytest.approx(1.0)


@pytest.mark.parametrize("rho", [0.05, 0.25])
def test_outcomes_of_a_cascade_raise_no_more_false_alarms_than_alpha(rho: float) -> None:
    """phi in {0, 1, 1/rho} with mean p0 = .05, a third of it from audits."""
    rng, runs, p0, alpha = np.random.default_rng(1), 1500, 0.05, 0.05
    u = rng.random((runs, 600))
    phi = np.where(u < p0 * 2 / 3, 1.0, np.where(u < p0 * 2 / 3 + p0 / 3 * rho, 1 / rho, 0.0))
    alarms = (wealth(phi, p0, sides=(1,)).max(axis=1) >= math.log(1 / alpha)).mean()
    assert 0.005 < alarms <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5


def test_bursts_are_safe_where_their_means_are_bet_on_and_not_where_each_probe_is() -> None:
    """Bursts of 10 with intra-class correlation .3 at rate .02: Beta-binomial, as of one template each."""
    rng, runs, p0, alpha = np.random.default_rng(2), 1500, 0.02, 0.01
    rates = rng.beta(p0 * 7 / 3, (1 - p0) * 7 / 3, (runs, 60))
    hits = rng.binomial(10, rates)
    means = (wealth(hits / 10, p0, sides=(1,)).max(axis=1) >= math.log(1 / alpha)).mean()
    probes = (np.arange(10) < hits[..., None]).reshape(runs, 600).astype(float)
    each = (wealth(probes, p0, sides=(1,)).max(axis=1) >= math.log(1 / alpha)).mean()
    limit = alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5
    assert means <= limit < each


@pytest.mark.parametrize(
    "law", [(0.95, 0.02, 0.01, 0.01, 0.01), (0.2, 0.2, 0.2, 0.2, 0.2), (0.5, 0, 0, 0, 0.5), (0, 0.1, 0.8, 0.1, 0)]
)
def test_a_look_after_each_score_misses_the_mean_no_more_often_than_alpha(law: tuple[float, ...]) -> None:
    rng, runs, alpha = np.random.default_rng(3), 1000, 0.05
    y = rng.choice(np.arange(5) / 4, size=(runs, 400), p=law)
    missed = (wealth(y, float(np.arange(5) / 4 @ law)).max(axis=1) >= math.log(1 / alpha)).mean()
    assert 0.005 < missed <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 3, 4, 5]) | st.floats(1, 5), min_size=1, max_size=80),
    st.floats(1e-4, 0.5),
    st.floats(0.001, 0.999),
)
def test_the_interval_is_the_set_of_means_the_naive_wealth_leaves(x: list[float], alpha: float, m: float) -> None:
    sequence = BettingConfidenceSequence(alpha=alpha, lower=1, upper=5)
    for value in x:
        sequence = sequence.update(value)
    lower, upper = sequence.interval
    assert 1 <= lower <= sum(x) / len(x) + 1e-9
    assert sum(x) / len(x) - 1e-9 <= upper <= 5
    log_e = wealth((np.array(x) - 1) / 4, m)[-1]
    if abs(log_e - math.log(1 / alpha)) > 1e-6:
        assert (lower < 1 + 4 * m < upper) == (log_e < math.log(1 / alpha))


def test_scores_are_bounded_much_closer_than_their_spread_unknown_and_near_the_normal_interval() -> None:
    """200 scores in the middle of the scale; the design found 1.66 times the normal interval's width."""
    sequence = BettingConfidenceSequence(lower=1, upper=5)
    for value in [1] * 60 + [2] * 40 + [3] * 40 + [4] * 40 + [5] * 20:
        sequence = sequence.update(value)
    lower, upper = sequence.interval
    spread = np.std([1] * 60 + [2] * 40 + [3] * 40 + [4] * 40 + [5] * 20)
    assert upper - lower == pytest.approx(1.66 * 2 * 1.96 * spread / 200**0.5, rel=0.03)


def test_before_the_first_value_all_is_open_and_equal_values_keep_their_end() -> None:
    sequence = BettingConfidenceSequence(upper=10)
    assert sequence.interval == (0, 10)
    for _ in range(500):
        sequence = sequence.update(0)
    assert sequence.interval[0] == 0
    assert 0 < sequence.interval[1] < 0.2
    assert sequence.counts == {0.0: 500}


@pytest.mark.parametrize("x", [-0.1, 1.1, math.nan, math.inf])
def test_values_outside_their_range_are_refused(x: float) -> None:
    with pytest.raises(ValueError, match="value"):
        BettingConfidenceSequence().update(x)
    with pytest.raises(ValueError, match="value"):
        BettingEProcess(m0=0.5).update(x)


def test_an_infinite_value_is_refused_even_without_a_bound() -> None:
    with pytest.raises(ValueError, match="value"):
        BettingEProcess(m0=0.5, upper=math.inf).update(math.inf)


@pytest.mark.parametrize("m0", [0.0, 1.0, math.nan, -0.1])
def test_means_that_no_value_can_lie_around_are_refused(m0: float) -> None:
    with pytest.raises(ValueError, match="m0"):
        BettingEProcess(m0=m0)


def test_bets_on_small_values_need_a_bound() -> None:
    with pytest.raises(ValueError, match="finite"):
        BettingEProcess(m0=0.5, upper=math.inf, above=False)
    with pytest.raises(ValueError, match="m0"):
        BettingEProcess(m0=math.inf, upper=math.inf)


@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf), (-math.inf, 0)])
def test_bounds_in_the_wrong_order_are_refused(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match="bounds"):
        BettingConfidenceSequence(lower=lower, upper=upper)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_an_alpha_outside_the_open_interval_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        BettingConfidenceSequence(alpha=alpha)
