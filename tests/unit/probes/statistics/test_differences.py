from __future__ import annotations

import math
from itertools import product

import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from probes.statistics.confidence import clopper_pearson
from probes.statistics.differences import independent_difference, matched_difference, mean_difference

CASES = [(0, 0, 20), (5, 0, 30), (0, 4, 12), (9, 3, 50), (12, 9, 44), (20, 1, 40), (1, 1, 2)]


def likeliest_lost(gained: int, lost: int, n: int, d: float) -> float:
    """Share of lost pairs under a change of d, by searching the likelihood itself."""
    def surprise(q: float) -> float:
        parts = (gained, q + d), (lost, q), (n - gained - lost, 1 - 2 * q - d)
        return -sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

    low, high = max(0.0, -d), (1 - d) / 2
    return float(minimize_scalar(surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x)


@pytest.mark.parametrize(("gained", "lost", "n"), CASES)
def test_the_bounds_are_where_the_score_of_the_likeliest_law_is_z(gained: int, lost: int, n: int) -> None:
    def excess(d: float) -> float:
        q = likeliest_lost(gained, lost, n, d)
        spread = n * (2 * q + d - d * d)
        return abs(gained - lost - n * d) / math.sqrt(spread) - norm.ppf(0.975) if spread > 0 else math.inf

    value = (gained - lost) / n
    lower, upper = matched_difference(gained, lost, n)
    assert lower == pytest.approx(brentq(excess, -1 + 1e-9, value - 1e-9), abs=1e-5)
    assert upper == pytest.approx(brentq(excess, value + 1e-9, 1 - 1e-9), abs=1e-5)


@pytest.mark.parametrize(("gained", "lost"), list(product((3, 7, 12), (2, 5, 11))))
def test_it_says_of_no_change_what_mcnemar_says(gained: int, lost: int) -> None:
    lower, upper = matched_difference(gained, lost, 60)
    assert (lower <= 0 <= upper) == (abs(gained - lost) / math.sqrt(gained + lost) <= norm.ppf(0.975))


@pytest.mark.parametrize(("up", "down"), [(0.02, 0.02), (0.10, 0.02), (0.05, 0.25), (0.3, 0.3)])
def test_it_covers_the_change_by_exact_count(up: float, down: float) -> None:
    """Sums the chances of all outcomes of 60 pairs whose interval holds the change."""
    n, covered = 60, 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            rest = n - gained - lost
            ways = math.comb(n, gained) * math.comb(n - gained, lost)
            chance = ways * up**gained * down**lost * (1 - up - down) ** rest
            if chance < 1e-9:
                continue
            lower, upper = matched_difference(gained, lost, n)
            covered += chance * (lower <= up - down <= upper)
    assert 0.934 <= covered <= 0.985


def test_what_changed_to_one_side_mirrors_the_other() -> None:
    lower, upper = matched_difference(7, 2, 40)
    assert matched_difference(2, 7, 40) == pytest.approx((-upper, -lower))


def test_no_change_in_few_pairs_proves_little() -> None:
    z2 = norm.ppf(0.975) ** 2
    assert matched_difference(0, 0, 30) == pytest.approx((-z2 / (30 + z2), z2 / (30 + z2)))


@pytest.mark.parametrize("counts", [(1, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_counts_that_can_not_be_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="can't be larger"):
        matched_difference(*counts)


def test_scores_that_barely_move_have_a_short_interval() -> None:
    lower, upper = mean_difference([0.0] * 190 + [4.0] * 10, 4.0)
    assert lower < 0.2 < upper
    hoeffding = 8 * math.sqrt(math.log(40) / 400)
    assert upper - lower < hoeffding
    assert mean_difference([], 4.0) == (-4.0, 4.0)


def test_two_samples_are_held_apart_by_their_own_intervals() -> None:
    before, after = (0.1, *clopper_pearson(10, 100)), (0.3, *clopper_pearson(30, 100))
    lower, upper = independent_difference(before, after)
    assert 0.05 < lower < 0.2 < upper < 0.35
    assert independent_difference(after, before) == pytest.approx((-upper, -lower))
