"""The canary's test: error rates by seeded simulation of a naive second implementation, equal to ours."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics.evalues import Decision
from probes.statistics.paired import PairedBettingTest

Array = npt.NDArray[np.float64]
WORSE, NO_WORSE = (0.1, 0.3, 0.6, 0.9), (0.1, 0.25, 0.5, 0.75, 0.9)


def wealth(d: Array, bets: tuple[float, ...]) -> Array:
    """Log of the mean over the bets of the running products prod(1 + l d), in each row."""
    return np.logaddexp.reduce([np.cumsum(np.log1p(bet * d), axis=-1) for bet in bets]) - math.log(len(bets))


def naive(d: Array, margin: float, alpha: float, beta: float) -> tuple[Array, Array]:
    """Pairs to the first verdict in each row (its length + 1 if there is none) and whether it was an abort."""
    aborts = wealth(d, WORSE) >= math.log(1 / alpha)
    promotes = wealth(margin - d, NO_WORSE) >= math.log(1 / beta)
    over = np.pad(aborts | promotes, ((0, 0), (0, 1)), constant_values=True)
    first = over.argmax(axis=1)
    aborted = np.pad(aborts, ((0, 0), (0, 1)))[np.arange(len(d)), first]
    return first + 1.0, aborted


def differences(rng: np.random.Generator, shape: tuple[int, int], *, up: float, down: float) -> Array:
    u = rng.random(shape)
    return np.where(u < up, 1.0, np.where(u < up + down, -1.0, 0.0))


@pytest.mark.parametrize(
    ("up", "down", "pairs", "abort"),
    [(0.005, 0.005, 153, 0.0), (0.03, 0.03, 309, 5e-4), (0.085, 0.005, 191, 1.0), (0.855, 0.005, 16, 1.0)],
)
def test_verdicts_and_pairs_are_those_of_the_design(*, up: float, down: float, pairs: float, abort: float) -> None:
    d = differences(np.random.default_rng(1), (1000, 2000), up=up, down=down)
    stopped, aborted = naive(d, 0.05, 1e-3, 1e-2)
    assert stopped.max() <= 2000
    assert stopped.mean() == pytest.approx(pairs, rel=0.1)
    assert aborted.mean() == pytest.approx(abort, abs=0.004)


@pytest.mark.parametrize("flips", [0.01, 0.06, 0.4])
def test_a_release_no_worse_is_aborted_no_more_often_than_alpha(flips: float) -> None:
    d = differences(np.random.default_rng(2), (2000, 1500), up=flips / 2, down=flips / 2)
    wrong = (wealth(d, WORSE).max(axis=1) >= math.log(1 / 0.05)).mean()
    assert 0 < wrong <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


@pytest.mark.parametrize("flips", [0.06, 0.15, 0.4])
def test_a_release_worse_by_the_margin_is_promoted_no_more_often_than_beta(flips: float) -> None:
    d = differences(np.random.default_rng(3), (2000, 1500), up=(flips + 0.05) / 2, down=(flips - 0.05) / 2)
    wrong = (wealth(0.05 - d, NO_WORSE).max(axis=1) >= math.log(1 / 0.05)).mean()
    assert 0 < wrong <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


@given(
    st.lists(st.sampled_from([-1, 0, 0, 0, 1]) | st.floats(-1, 1), max_size=60),
    st.floats(0.01, 0.5),
    st.floats(1e-4, 0.5),
    st.floats(1e-4, 0.5),
)
def test_evidence_is_that_of_the_naive_products(d: list[float], margin: float, alpha: float, beta: float) -> None:
    test = PairedBettingTest(margin=margin, alpha=alpha, beta=beta)
    for x in d:
        test = test.update(x)
    worse = np.mean([math.prod(1 + bet * x for x in d) for bet in WORSE])
    better = np.mean([math.prod(1 - bet * (x - margin) for x in d) for bet in NO_WORSE])
    assert test.n == len(d)
    assert test.log_e_worse == pytest.approx(math.log(worse), abs=1e-9)
    assert test.log_e_no_worse == pytest.approx(math.log(better), abs=1e-9)


def test_decisions_come_at_the_naive_pair() -> None:
    rng = np.random.default_rng(4)
    for up, down in ((0.03, 0.03), (0.3, 0.05)):
        d = differences(rng, (15, 900), up=up, down=down)
        for row, stopped, aborted in zip(d, *naive(d, 0.05, 1e-3, 1e-2), strict=True):
            test = PairedBettingTest()
            while test.decision is Decision.CONTINUE and test.n < 900:
                test = test.update(row[test.n])
            assert test.decision is (Decision.REJECT if aborted else Decision.ACCEPT)
            assert test.n == stopped


def test_factors_have_mean_one_at_the_boundary_exactly() -> None:
    """Any law with E[d] = 0, or the margin, gives each factor a mean of one: checked on all laws of two points."""
    test = PairedBettingTest()
    for low, high in ((-1.0, 1.0), (-0.2, 0.7), (-1.0, 0.06)):
        for mean in (0.0, test.margin):
            p = (mean - low) / (high - low)
            ups, downs = test.update(high), test.update(low)
            sides = ("log_worse",) if mean == 0 else ("log_no_worse",)
            for side in sides:
                for a, b in zip(getattr(ups, side), getattr(downs, side), strict=True):
                    assert p * math.exp(a) + (1 - p) * math.exp(b) == pytest.approx(1.0)


@pytest.mark.parametrize("difference", [-1.01, 1.01, math.nan, math.inf])
def test_differences_outside_their_range_are_refused(difference: float) -> None:
    with pytest.raises(ValueError, match="difference"):
        PairedBettingTest().update(difference)


@pytest.mark.parametrize("name", ["margin", "alpha", "beta"])
@pytest.mark.parametrize("value", [0.0, 1.0, math.nan, -0.1])
def test_rates_outside_the_open_interval_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        PairedBettingTest(**{name: value})
