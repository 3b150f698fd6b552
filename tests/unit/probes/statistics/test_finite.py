"""The rate of a finite suite: exact miscoverage, and the set computed from prior and posterior themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from probes.statistics.confidence import SubBernoulliConfidenceSequence
from probes.statistics.finite import PriorPosteriorRatioCS


@settings(deadline=None)
@given(st.integers(1, 120), st.floats(0.01, 0.5), st.floats(0.3, 4), st.floats(0.3, 4), st.data())
def test_the_interval_is_the_set_of_counts_the_ratio_leaves(
    size: int, alpha: float, a: float, b: float, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, size))
    s = data.draw(st.integers(0, n))
    sequence = PriorPosteriorRatioCS(size=size, alpha=alpha, a=a, b=b, n=n, successes=s)
    theta = np.arange(s, size - n + s + 1)
    ratio = betabinom.logpmf(theta, size, a, b) - betabinom.logpmf(theta - s, size - n, a + s, b + n - s)
    left = theta[ratio < math.log(1 / alpha)]
    assert list(left) == list(range(left[0], left[-1] + 1))
    assert np.min(np.abs(ratio - math.log(1 / alpha))) < 1e-6 or sequence.interval == (left[0] / size, left[-1] / size)
    assert sequence.interval[0] <= (s / n if n else 0) + 1e-12 or n == 0
    assert sequence.interval[1] >= (s / n if n else 1) - 1e-12 or n == 0


@pytest.mark.parametrize(("size", "hits"), [(60, 0), (60, 2), (60, 30), (200, 9)])
@pytest.mark.parametrize("prior", [(1.0, 1.0), (1.0, 4.0)])
def test_a_look_after_each_prompt_misses_the_rate_no_more_often_than_alpha_exactly(
    *, size: int, hits: int, prior: tuple[float, float]
) -> None:
    """Dynamic programme over (n, S) of draws without replacement, each with the interval of its state."""
    alpha, alive, missed = 0.2, {0: 1.0}, 0.0
    for n in range(1, size + 1):
        after: dict[int, float] = {}
        for s, mass in alive.items():
            p = (hits - s) / (size - n + 1)
            for s2, share in ((s + 1, p), (s, 1 - p)):
                if share > 0:
                    after[s2] = after.get(s2, 0.0) + mass * share
        alive = {}
        for s, mass in after.items():
            cs = PriorPosteriorRatioCS(size=size, alpha=alpha, a=prior[0], b=prior[1], n=n, successes=s)
            if cs.interval[0] <= hits / size <= cs.interval[1]:
                alive[s] = mass
            else:
                missed += mass
    assert missed <= alpha
    assert missed > 0.01 or hits == 0


def test_the_suite_asked_in_full_has_one_rate_left() -> None:
    sequence = PriorPosteriorRatioCS(size=40)
    assert sequence.interval == (0.0, 1.0)
    for k in range(40):
        sequence = sequence.update(k % 8 == 0)
    assert sequence.interval == (5 / 40, 5 / 40)
    with pytest.raises(ValueError, match="begin a new"):
        sequence.update(True)


def test_a_suite_half_asked_is_bounded_closer_than_by_draws_that_come_back() -> None:
    low, high = PriorPosteriorRatioCS(size=400, n=200, successes=8).interval
    wide = SubBernoulliConfidenceSequence(n=200, total=8.0).interval
    assert high - low < 0.9 * (wide[1] - wide[0])


@pytest.mark.parametrize(
    ("size", "alpha", "a", "b"),
    [(0, 0.05, 1, 1), (10, 0.0, 1, 1), (10, math.nan, 1, 1), (10, 0.05, 0, 1), (10, 0.05, 1, math.nan),
     (10, 0.05, math.inf, 1)],
)  # fmt: skip
def test_suites_and_priors_that_are_none_are_refused(size: int, alpha: float, a: float, b: float) -> None:
    with pytest.raises(ValueError, match=r"size|alpha|a =|b ="):
        PriorPosteriorRatioCS(size=size, alpha=alpha, a=a, b=b)


@pytest.mark.parametrize(("n", "successes"), [(11, 0), (3, 4), (3, -1)])
def test_impossible_counts_are_refused(n: int, successes: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        PriorPosteriorRatioCS(size=10, n=n, successes=successes)
