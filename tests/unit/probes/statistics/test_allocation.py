"""Allocation: exact enumeration of all paths, and a naive second implementation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics.allocation import EpsilonGreedyAllocator, HorvitzThompson

SHARES = {"direct": 0.5, "encoding": 0.3, "trigger": 0.2}
RATES = {"direct": 0.02, "encoding": 0.1, "trigger": 0.9}


def evidence(path: list[tuple[str, bool]]) -> dict[str, float]:
    """Log Shiryaev-Roberts statistic of each stratum, .05 against .5, straight from its sum over change points."""
    found = {}
    for name in SHARES:
        factors = [10.0 if x else 0.5 / 0.95 for k, x in path if k == name]
        r = sum(math.prod(factors[start:]) for start in range(len(factors)))
        found[name] = math.log(r) if r else -math.inf
    return found


def paths(length: int) -> Iterator[tuple[float, HorvitzThompson, float]]:
    """Each possible run of this length: its probability, the estimate it ends with and the plain rate."""
    allocator = EpsilonGreedyAllocator(shares=SHARES)
    for steps in itertools.product(itertools.product(SHARES, (False, True)), repeat=length):
        probability, estimate, path = 1.0, HorvitzThompson(), []
        for name, x in steps:
            pi = allocator.probabilities(evidence(path))
            probability *= pi[name] * (RATES[name] if x else 1 - RATES[name])
            estimate = estimate.update(float(x), SHARES[name], pi[name])
            path.append((name, x))
        yield probability, estimate, sum(x for _, x in path) / length


def test_the_weighted_rate_is_unbiased_exactly_where_the_plain_one_is_not() -> None:
    runs = list(paths(4))
    truth = sum(SHARES[k] * RATES[k] for k in SHARES)
    assert math.fsum(p for p, _, _ in runs) == pytest.approx(1.0)
    assert math.fsum(p * (e.value or 0.0) for p, e, _ in runs) == pytest.approx(truth, abs=1e-12)
    assert math.fsum(p * plain for p, _, plain in runs) > truth + 0.05


def test_the_squared_standard_error_is_the_variance_exactly_without_a_hunt() -> None:
    truth, length = sum(SHARES[k] * RATES[k] for k in SHARES), 3
    variance = squared = 0.0
    for steps in itertools.product(itertools.product(SHARES, (False, True)), repeat=length):
        estimate, probability = HorvitzThompson(), 1.0
        for name, x in steps:
            probability *= (1 / 3) * (RATES[name] if x else 1 - RATES[name])
            estimate = estimate.update(x, SHARES[name], 1 / 3)
        assert estimate.value is not None
        assert estimate.standard_error is not None
        variance += probability * (estimate.value - truth) ** 2
        squared += probability * estimate.standard_error**2
    assert squared == pytest.approx(variance)


def test_the_weighted_rate_is_unbiased_over_long_runs_that_hunt() -> None:
    rng = np.random.default_rng(5)
    allocator, truth, values = EpsilonGreedyAllocator(shares=SHARES), sum(SHARES[k] * RATES[k] for k in SHARES), []
    for _ in range(300):
        estimate, log_r = HorvitzThompson(), dict.fromkeys(SHARES, -math.inf)
        for place, verdict in rng.random((60, 2)):
            pi = allocator.probabilities(log_r)
            name = allocator.choose(pi, place)
            x = bool(verdict < RATES[name])
            estimate = estimate.update(x, SHARES[name], pi[name])
            log_r[name] = float(np.logaddexp(log_r[name], 0)) + math.log(10 if x else 0.5 / 0.95)
        values.append(estimate.value)
    assert abs(np.mean(values) - truth) <= 3 * np.std(values) / len(values) ** 0.5


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=42),
    st.floats(0.01, 1),
    st.floats(0, 1, exclude_max=True),
    st.data(),
)
def test_probabilities_are_above_zero_sum_to_one_and_are_the_naive_ones(
    weights: list[float], epsilon: float, uniform: float, data: st.DataObject
) -> None:
    names = [f"s{k}" for k in range(len(weights))]
    shares = {name: w / math.fsum(weights) for name, w in zip(names, weights, strict=True)}
    known = data.draw(st.lists(st.sampled_from(names), unique=True))
    log_r = {name: float(data.draw(st.integers(-50, 50) | st.just(-math.inf))) for name in known}
    allocator = EpsilonGreedyAllocator(shares=shares, epsilon=epsilon)
    pi = allocator.probabilities(log_r)
    r = [math.exp(log_r[name]) if name in log_r else 0.0 for name in names]
    best = r.index(max(r)) if max(r) > 1 else None
    for k, name in enumerate(names):
        plain = shares[name] if best is None else epsilon * shares[name] + (1 - epsilon) * (k == best)
        assert pi[name] == pytest.approx(plain)
        assert pi[name] > 0
    assert math.fsum(pi.values()) == pytest.approx(1.0)
    chosen = names.index(allocator.choose(pi, uniform))
    before = math.fsum(list(pi.values())[:chosen])
    assert before - 1e-9 <= uniform <= before + pi[names[chosen]] + 1e-9


def test_ties_go_to_the_first_name_and_no_evidence_surveys() -> None:
    allocator = EpsilonGreedyAllocator(shares=SHARES, epsilon=0.2)
    assert allocator.probabilities({}) == SHARES
    assert allocator.probabilities({"trigger": 0.0, "direct": -3.0}) == SHARES
    assert allocator.probabilities({"trigger": 2.0, "encoding": 2.0})["encoding"] == pytest.approx(0.86)


def test_a_rounded_sum_below_the_draw_still_names_a_stratum() -> None:
    third = 0.333333333
    pi = {"a": third, "b": third, "c": third}
    assert EpsilonGreedyAllocator.choose({**pi, "never": 0.0}, math.nextafter(1, 0)) == "c"
    rounded = {"a": 0.94598398142769777, "b": 0.05401601857230213}
    assert EpsilonGreedyAllocator.choose(rounded, math.nextafter(1, 0)) == "b"


def test_an_empty_estimate_has_no_value() -> None:
    assert HorvitzThompson().value is None
    assert HorvitzThompson().standard_error is None
    assert HorvitzThompson().update(1, 0.1, 0.2).standard_error is None


@pytest.mark.parametrize(
    "shares", [{}, {"a": 0.5}, {"a": 1.0, "b": 0.0}, {"a": math.nan, "b": 0.5}, {"a": 1.5, "b": -0.5}]
)
def test_shares_that_make_no_distribution_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share"):
        EpsilonGreedyAllocator(shares=shares)


@pytest.mark.parametrize("epsilon", [0.0, 1.1, math.nan])
def test_an_epsilon_that_surveys_nothing_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        EpsilonGreedyAllocator(shares=SHARES, epsilon=epsilon)


@pytest.mark.parametrize("log_r", [{"direct": math.nan}, {"direct": math.inf}, {"unheard": 1.0}])
def test_evidence_that_is_none_is_refused(log_r: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="stratum"):
        EpsilonGreedyAllocator(shares=SHARES).probabilities(log_r)


@pytest.mark.parametrize(
    ("pi", "uniform"),
    [({"a": 1.0}, 1.0), ({"a": 1.0}, math.nan), ({"a": 0.5}, 0.1), ({"a": -0.5, "b": 1.5}, 0.7), ({}, 0.5)],
)
def test_draws_from_no_distribution_are_refused(pi: dict[str, float], uniform: float) -> None:
    with pytest.raises(ValueError, match=r"uniform|probabilit"):
        EpsilonGreedyAllocator.choose(pi, uniform)


@pytest.mark.parametrize(
    ("x", "share", "probability"),
    [(-1, 0.5, 0.5), (math.nan, 0.5, 0.5), (math.inf, 0.5, 0.5), (1, 0, 0.5), (1, 0.5, 0), (1, 0.5, math.nan)],
)
def test_outcomes_without_a_weight_are_refused(x: float, share: float, probability: float) -> None:
    with pytest.raises(ValueError, match=r"outcome|share|probability"):
        HorvitzThompson().update(x, share, probability)
