"""Intervals: exact miscoverage under a look after each value, and naive second implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from probes.statistics.confidence import SubBernoulliConfidenceSequence, clopper_pearson, running_bounds

ETAS = np.concatenate([-np.geomspace(0.05, 4, 12), np.geomspace(0.05, 4, 12)])


def log_wealth(total: float | np.ndarray, n: int, m: float) -> np.ndarray:
    """Straight from the formula: log mean_j exp(eta_j S - n log(1 + m(e^eta_j - 1)))."""
    values = [eta * np.asarray(total, float) - n * math.log1p(m * math.expm1(eta)) for eta in ETAS]
    return np.asarray(np.logaddexp.reduce(values) - math.log(len(ETAS)))


def miscoverage(rates: np.ndarray, alpha: float) -> float:
    """Chance that the running mean of the rates is ever outside, by a dynamic programme over (n, S)."""
    alive, missed = np.array([1.0]), 0.0
    for n, (rate, target) in enumerate(zip(rates, np.cumsum(rates) / np.arange(1, len(rates) + 1), strict=True), 1):
        alive = np.append(alive * (1 - rate), 0.0) + np.append(0.0, alive * rate)
        near = np.flatnonzero(alive > 1e-12)
        out = near[log_wealth(near, n, target) >= math.log(1 / alpha)]
        missed += alive[out].sum()
        alive[out] = 0.0
    return float(missed)


@pytest.mark.parametrize("p", [0.005, 0.02, 0.1, 0.5, 0.9])
def test_a_thousand_looks_miss_a_constant_rate_no_more_often_than_alpha_exactly(p: float) -> None:
    assert 0.003 < miscoverage(np.full(1000, p), 0.05) <= 0.05


@pytest.mark.parametrize("period", [2, 50, 1000])
@pytest.mark.parametrize("p", [0.02, 0.3])
def test_a_thousand_looks_miss_the_running_mean_of_a_rate_that_jumps_no_more_often_than_alpha_exactly(
    *, p: float, period: int
) -> None:
    high = np.arange(1000) % period < period / 2
    for rates in (np.where(high, 1.8 * p, 0.2 * p), np.where(high, 0.2 * p, 1.8 * p)):
        assert 1e-4 < miscoverage(rates, 0.05) <= 0.05


@settings(deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(1e-6, 0.5))
def test_the_bounds_are_where_the_naive_wealth_reaches_one_over_alpha(n: int, share: float, alpha: float) -> None:
    total = round(n * share, 3)
    lower, upper = SubBernoulliConfidenceSequence(alpha=alpha, n=n, total=total).interval
    assert 0 <= lower <= total / n <= upper <= 1
    for bound, outward in ((lower, -1e-7), (upper, 1e-7)):
        if 0 < bound < 1:
            assert log_wealth(total, n, bound) == pytest.approx(math.log(1 / alpha), abs=1e-4)
            assert log_wealth(total, n, min(1.0, max(0.0, bound + outward))) > math.log(1 / alpha) - 1e-9
        else:
            assert log_wealth(total, n, bound) < math.log(1 / alpha) + 1e-6


def wilson_width(s: np.ndarray, n: int) -> np.ndarray:
    z = 1.959964
    return 2 * z * np.sqrt(s * (1 - s / n) + z * z / 4) / (n + z * z)


@pytest.mark.parametrize(
    ("n", "p", "ratio"), [(100, 0.02, 1.53), (400, 0.02, 1.62), (400, 0.5, 1.68), (2000, 0.1, 1.68)]
)
def test_the_mean_width_against_wilsons_is_the_one_stated(*, n: int, p: float, ratio: float) -> None:
    s = np.arange(n + 1)
    s = s[binom.pmf(s, n, p) > 1e-4]
    mass = binom.pmf(s, n, p)
    bounds = [SubBernoulliConfidenceSequence(n=n, total=float(k)).interval for k in s]
    width = sum(w * (high - low) for w, (low, high) in zip(mass, bounds, strict=True))
    assert width / (mass @ wilson_width(s, n)) == pytest.approx(ratio, abs=0.02)


@pytest.mark.parametrize(("n", "total"), [(1, 0.5), (400, 8.0), (2000, 1000.0), (1_000_000, 20.0)])
def test_a_status_costs_few_evaluations(monkeypatch: pytest.MonkeyPatch, n: int, total: float) -> None:
    """Each takes some 5 microseconds, so a status stays below a millisecond whatever the machine's load in a test."""
    calls, excess = [], SubBernoulliConfidenceSequence._excess

    def counted(self: SubBernoulliConfidenceSequence, m: float) -> float:
        calls.append(m)
        return excess(self, m)

    monkeypatch.setattr(SubBernoulliConfidenceSequence, "_excess", counted)
    assert SubBernoulliConfidenceSequence(n=n, total=total).interval[0] < total / n
    assert len(calls) <= 60


def test_updates_count_and_sum() -> None:
    sequence = SubBernoulliConfidenceSequence(alpha=0.1)
    assert sequence.interval == (0.0, 1.0)
    for x in (0.0, 1.0, 0.25):
        sequence = sequence.update(x)
    assert sequence == SubBernoulliConfidenceSequence(alpha=0.1, n=3, total=1.25)


@settings(deadline=None)
@given(st.integers(1, 400), st.data())
def test_bounds_of_a_rate_partly_unseen_take_half_the_error_each(n: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(1, n))
    seen = data.draw(st.integers(0, part))
    found = data.draw(st.integers(seen, n - part + seen))
    lower, upper = running_bounds(
        SubBernoulliConfidenceSequence(n=n, total=float(found)),
        SubBernoulliConfidenceSequence(n=part, total=float(seen)),
    )
    assert lower == SubBernoulliConfidenceSequence(alpha=0.025, n=n, total=float(found)).interval[0]
    highest = SubBernoulliConfidenceSequence(alpha=0.025, n=part, total=float(seen)).interval[1]
    assert upper == max(lower, highest)


@pytest.mark.parametrize(("n", "alpha"), [(7, 0.05), (25, 0.01)])
def test_clopper_pearson_covers_and_its_bounds_are_exact_tails(*, n: int, alpha: float) -> None:
    bounds = [clopper_pearson(s, n, alpha=alpha) for s in range(n + 1)]
    for p in np.linspace(0.001, 0.999, 97):
        covered = sum(binom.pmf(s, n, p) for s, (low, high) in enumerate(bounds) if low <= p <= high)
        assert covered >= 1 - alpha
    for s, (low, high) in enumerate(bounds):
        assert low == 0 if s == 0 else binom.sf(s - 1, n, low) == pytest.approx(alpha / 2)
        assert high == 1 if s == n else binom.cdf(s, n, high) == pytest.approx(alpha / 2)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan, -0.1])
def test_an_alpha_outside_the_open_interval_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        SubBernoulliConfidenceSequence(alpha=alpha)
    with pytest.raises(ValueError, match="alpha"):
        clopper_pearson(1, 10, alpha=alpha)


@pytest.mark.parametrize("x", [-0.1, 1.1, math.nan, math.inf])
def test_values_outside_their_range_are_refused(x: float) -> None:
    with pytest.raises(ValueError, match="value"):
        SubBernoulliConfidenceSequence().update(x)
