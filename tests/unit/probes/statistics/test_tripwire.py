"""The tripwire: mean runs to a false alarm by seeded simulation, and a naive second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics.tripwire import Tripwire

POWERS = (0.1, 0.25, 0.5, 0.75)
SCORES = st.floats(-5, 5) | st.sampled_from([0.0, 1.0])


def p_values(reference: list[float], scores: list[float]) -> list[float]:
    """Share of all values up to now that lie above the reference value next below the new score."""
    found = []
    for t, score in enumerate(scores, 1):
        seen = [*reference, *scores[:t]]
        below = max((r for r in reference if r < score), default=-math.inf)
        found.append(sum(value > below for value in seen) / len(seen))
    return found


def exact_p_values(reference: list[float], scores: list[float]) -> list[float]:
    """The conformal p-values themselves: share of all values up to now that are at least as large."""
    return [
        sum(value >= score for value in [*reference, *scores[:t]]) / (len(reference) + t)
        for t, score in enumerate(scores, 1)
    ]


@given(st.lists(SCORES, min_size=10, max_size=30), st.lists(SCORES, min_size=1, max_size=30))
def test_the_statistic_is_the_naive_sum_over_change_points(reference: list[float], scores: list[float]) -> None:
    tripwire = Tripwire(reference=tuple(reference), gamma=50)
    for score in scores:
        tripwire = tripwire.update(score)
    p = p_values(reference, scores)
    r = np.mean([sum(math.prod(k * v ** (k - 1) for v in p[start:]) for start in range(len(p))) for k in POWERS])
    assert tripwire.log_r == pytest.approx(math.log(r), abs=1e-9)
    assert tripwire.tripped == (tripwire.log_r >= math.log(50))
    assert all(ours >= exact for ours, exact in zip(p, exact_p_values(reference, scores), strict=True))


def run(rng: np.random.Generator, *, size: int, gamma: float, most: int, shift: float = 0.0, tied: bool = False) -> int:
    """Scores to the alarm, at most ``most``; rounded to halves where ``tied``."""
    values = rng.normal(size=size + most)
    values[size:] += shift
    values = np.round(2 * values) / 2 if tied else values
    tripwire = Tripwire(reference=tuple(values[:size]), gamma=gamma)
    for t, score in enumerate(values[size:], 1):
        tripwire = tripwire.update(float(score))
        if tripwire.tripped:
            return t
    return most


@pytest.mark.parametrize(("size", "tied"), [(10, False), (60, False), (60, True)])
def test_false_alarms_are_at_least_gamma_scores_apart_on_average(*, size: int, tied: bool) -> None:
    """Runs are cut at 10 gamma, which can only shorten their mean."""
    rng = np.random.default_rng(size)
    stopped = np.array([run(rng, size=size, gamma=40, most=400, tied=tied) for _ in range(250)])
    assert stopped.mean() >= 40 + 3 * stopped.std() / len(stopped) ** 0.5


def test_a_reference_that_stays_as_it_is_would_break_the_guarantee() -> None:
    """Why the scores so far count too: with p-values against 20 fixed values alone, unlucky references alarm anyway."""
    rng, gamma, count, most = np.random.default_rng(8), 1e6, 200, 2000
    powers = np.array(POWERS)
    reference, m, alarmed = np.sort(rng.random((count, 20))), np.zeros((count, 4)), np.zeros(count, bool)
    for _ in range(most):
        p = ((reference >= rng.random((count, 1))).sum(axis=1, keepdims=True) + 1) / 21
        m = np.minimum((m + 1) * powers * p ** (powers - 1), 1e100)
        alarmed |= m.mean(axis=1) >= gamma
    assert alarmed.mean() > 10 * most / gamma


@pytest.mark.parametrize(("shift", "within"), [(2.0, 60), (6.0, 12)])
def test_a_shift_is_found_soon(*, shift: float, within: int) -> None:
    rng = np.random.default_rng(3)
    stopped = [run(rng, size=200, gamma=1e4, most=200, shift=shift) for _ in range(40)]
    assert np.mean(stopped) <= within


def test_a_server_that_repeats_itself_never_trips_and_its_first_changes_do() -> None:
    tripwire = Tripwire(reference=(0.0,) * 100)
    for _ in range(200):
        tripwire = tripwire.update(0.0)
    assert not tripwire.tripped
    for _ in range(8):
        tripwire = tripwire.update(0.01)
    assert tripwire.tripped


def test_the_order_of_the_reference_does_not_matter() -> None:
    values = (3.0, 1.0, 2.0, 9.0, 4.0, 5.0, 8.0, 7.0, 6.0, 0.0)
    assert Tripwire(reference=values).update(4.5) == Tripwire(reference=tuple(sorted(values))).update(4.5)


@pytest.mark.parametrize("reference", [(), (1.0,) * 9, (math.nan,) * 20, (math.inf,) * 20])
def test_references_that_tell_nothing_are_refused(reference: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="reference"):
        Tripwire(reference=reference)


@pytest.mark.parametrize("gamma", [1.0, math.nan, math.inf])
def test_thresholds_that_mean_nothing_are_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        Tripwire(reference=(0.0,) * 10, gamma=gamma)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="score"):
        Tripwire(reference=(0.0,) * 10).update(score)
