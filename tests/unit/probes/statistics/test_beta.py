"""The incomplete beta function and its inverse, against scipy's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from probes.statistics.beta import betainc, betaincinv

SHAPE = st.integers(1, 5000) | st.floats(1, 5000)
QUANTILES = (1e-12, 1e-6, 0.025, 0.5, 0.975, 1 - 1e-6)


@given(a=SHAPE | st.floats(0.01, 1), b=SHAPE | st.floats(0.01, 1), x=st.floats(0, 1, allow_subnormal=False))
def test_it_is_the_chance_that_scipy_gives(a: float, b: float, x: float) -> None:
    assert betainc(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-10, abs=1e-290)


@given(a=SHAPE, b=SHAPE, deviations=st.floats(-6, 6))
def test_it_is_exact_where_the_mass_is(a: float, b: float, deviations: float) -> None:
    mean = a / (a + b)
    x = mean + deviations * math.sqrt(mean * (1 - mean) / (a + b + 1))
    if 0 < x < 1:
        assert betainc(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=2e-12)


@pytest.mark.parametrize("p", QUANTILES)
@given(a=SHAPE, b=SHAPE)
def test_the_inverse_is_scipys(p: float, a: float, b: float) -> None:
    assert betaincinv(a, b, p) == pytest.approx(special.betaincinv(a, b, p), rel=1e-10)


@pytest.mark.parametrize("p", QUANTILES)
@pytest.mark.parametrize(("a", "b"), [(1, 10**6), (10**6, 1), (3, 10**6), (5 * 10**5, 5 * 10**5)])
def test_a_million_probes_are_no_matter(p: float, a: float, b: float) -> None:
    found = betaincinv(a, b, p)
    assert found == pytest.approx(special.betaincinv(a, b, p), rel=1e-9)
    assert betainc(a, b, found) == pytest.approx(p, rel=1e-8)


@given(a=SHAPE, b=SHAPE, digits=st.integers(12, 290))
def test_quantiles_that_scipy_can_not_find_are_found(a: float, b: float, digits: int) -> None:
    found = betaincinv(a, b, 10.0**-digits)
    assert special.betainc(a, b, found) == pytest.approx(10.0**-digits, rel=1e-8)


def test_at_the_ends_it_is_0_and_1() -> None:
    assert (betainc(3, 4, 0.0), betainc(3, 4, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize(("a", "b", "x"), [(0, 1, 0.5), (1, -1, 0.5), (1, 1, 1.5), (1, 1, math.nan)])
def test_what_is_no_beta_distribution_is_refused(a: float, b: float, x: float) -> None:
    with pytest.raises(ValueError, match="must"):
        betainc(a, b, x)


@pytest.mark.parametrize(("a", "b", "p"), [(0.5, 1, 0.5), (1, 0.5, 0.5), (1, 1, 0), (1, 1, 1e-300), (1, 1, 1)])
def test_a_quantile_that_it_can_not_find_is_refused(a: float, b: float, p: float) -> None:
    with pytest.raises(ValueError, match="must"):
        betaincinv(a, b, p)
