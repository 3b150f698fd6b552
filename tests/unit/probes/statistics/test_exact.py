"""Exact tests against scipy's, and against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact

from probes.statistics.exact import binomial_above, fisher_below, holm


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 1))
def test_the_binomial_tail_is_the_sum_of_its_terms(a: int, b: int, rate: float) -> None:
    k, n = min(a, b), max(a, b)
    assert binomial_above(k, n, rate=rate) == pytest.approx(float(binom.sf(k - 1, n, rate)), abs=1e-12)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_fishers_test_is_scipys(a: int, b: int, c: int, d: int) -> None:
    expected = fisher_exact([[a, b], [c, d]], alternative="less").pvalue
    assert fisher_below(a, a + b, c, c + d) == pytest.approx(float(expected), abs=1e-9)


def test_holm_steps_down_and_stops() -> None:
    assert holm([0.01, 0.04, 0.03], alpha=0.05) == (True, False, False)
    assert holm([0.01, 0.024, 0.03], alpha=0.05) == (True, True, True)
    assert holm([0.04, 0.001], alpha=0.05) == (True, True)
    assert holm([], alpha=0.05) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_bonferroni_does_and_nothing_over_alpha(p_values: list[float]) -> None:
    for p, fell in zip(p_values, holm(p_values, alpha=0.05), strict=True):
        assert fell or p > 0.05 / len(p_values)
        assert not fell or p <= 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: binomial_above(3, 2, rate=0.5),
        lambda: binomial_above(1, 2, rate=1.5),
        lambda: fisher_below(3, 2, 0, 1),
        lambda: holm([0.1], alpha=0.0),
    ],
)
def test_impossible_counts_and_rates_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=r"."):
        wrong()
