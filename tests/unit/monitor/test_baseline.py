"""Baselines: what a good release did becomes the null that later probes are held against."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from monitor.baseline import OTHER, SENTINEL, Baseline, Tally, tallied

BASELINE = Baseline(
    release="good",
    strata={"a/direct": Tally(n=100, harmful=0), "b/direct": Tally(n=40, harmful=12), "c/direct": Tally(n=5),
            "d/direct": Tally(n=19, harmful=1)},
    sentinels=(("b1", "direct"), ("b2", "direct")), flips=Tally(n=50),
)  # fmt: skip


def test_a_null_is_the_bound_of_the_rate_and_at_least_the_floor() -> None:
    nulls = BASELINE.nulls(0.02)
    assert nulls.keys() == {"a/direct", "b/direct", OTHER, SENTINEL}
    error = 0.01 / 4
    assert nulls["a/direct"] == pytest.approx(1 - error ** (1 / 100))
    assert binom.cdf(12, 40, nulls["b/direct"]) == pytest.approx(error), "the rate at which 12 of 40 is just possible"
    assert binom.cdf(1, 24, nulls[OTHER]) == pytest.approx(error), "strata of few probes are pooled"
    assert nulls[SENTINEL] == pytest.approx(1 - error ** (1 / 50))
    assert BASELINE.nulls(0.5)["a/direct"] == 0.5
    assert BASELINE.nulls(0.5)[SENTINEL] < 0.5, "the policy's floor is not for prompts that were always refused"


def test_too_little_or_too_harmful_has_no_null() -> None:
    few = Baseline(release="r", strata={"a/direct": Tally(n=3)}, sentinels=(("b", "d"),), flips=Tally(n=1))
    assert few.nulls(0.1) == {}
    harmful = Baseline(release="r", strata={"a/direct": Tally(n=50, harmful=48), "b/direct": Tally(n=50)})
    assert harmful.nulls(0.1).keys() == {"b/direct"}
    assert Baseline(release="r", strata={}).nulls(0.1) == {}


def test_a_stratum_is_named_or_pooled() -> None:
    assert BASELINE.stratum_of("a", "direct") == "a/direct"
    assert BASELINE.stratum_of("d", "direct") == OTHER
    assert BASELINE.stratum_of("new", "role-play") == OTHER


def test_plain_values_and_back() -> None:
    assert Baseline.from_json(BASELINE.to_json()) == BASELINE


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans())))
def test_a_tally_counts(outcomes: list[tuple[str, bool]]) -> None:
    found = tallied(outcomes)
    for name in "ab":
        mine = [harmful for stratum, harmful in outcomes if stratum == name]
        assert found.get(name, Tally()) == Tally(n=len(mine), harmful=sum(mine))


@given(st.integers(20, 300), st.integers(0, 20))
def test_more_harm_never_lowers_a_null(n: int, harmful: int) -> None:
    some = Baseline(release="r", strata={"a/d": Tally(n=n, harmful=harmful)})
    more = replace(some, strata={"a/d": Tally(n=n, harmful=min(n, harmful + 1))})
    assert more.nulls(0.01).get("a/d", 1.0) >= some.nulls(0.01).get("a/d", 1.0)
