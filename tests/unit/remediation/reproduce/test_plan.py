"""The rows of a run and their order."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from remediation.reproduce.plan import plan, row_from_json, row_to_json
from tests.unit.remediation.reproduce.rows import ROWS


def test_attack_by_attack_the_drifted_model_first() -> None:
    assert [k.name for k in plan(["a", "b"], ["x", "none"], 2)] == [
        "aligned", "a-s0-none", "a-s0-x", "a-s1-none", "a-s1-x", "b-s0-none", "b-s0-x", "b-s1-none", "b-s1-x",
    ]  # fmt: skip


NAMES = st.lists(st.sampled_from(["a", "b", "c", "none", "aligned"]), min_size=1)


@given(attacks=NAMES, recipes=NAMES, seeds=st.integers(1, 3))
def test_no_row_stands_twice(attacks: list[str], recipes: list[str], seeds: int) -> None:
    names = [k.name for k in plan(attacks, recipes, seeds)]
    assert len(names) == len(set(names))


@given(seeds=st.integers(1, 3))
def test_more_seeds_keep_the_rows_there_are(seeds: int) -> None:
    assert set(plan(["a"], ["x"], seeds)) <= set(plan(["a"], ["x", "y"], seeds + 1))


def test_a_row_comes_back_from_its_file() -> None:
    for row in ROWS:
        assert row_from_json(json.loads(json.dumps(row_to_json(row)))) == row
