"""The rows of a run and their order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from remediation.reproduce.plan import ReproduceSettings, RowKey, options_sha256, plan, row_from_json, row_to_json
from tests.unit.remediation.reproduce.rows import ROWS, TOLD, row


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
    for one in (*ROWS, TOLD):
        assert row_from_json(json.loads(json.dumps(row_to_json(one)))) == one


def test_a_row_that_does_not_tell_was_made_without_options_on_the_processor() -> None:
    told = row_to_json(ROWS[3])
    for name in ("options", "options_sha256", "device", "screen", "controls", "recipe_figures", "asked", "sources"):
        del told[name]
    assert row_from_json(told) == ROWS[3]


def test_options_are_the_same_in_any_order_and_as_text() -> None:
    assert options_sha256({"a": 1, "b": Path("x")}) == options_sha256({"b": "x", "a": 1})
    assert options_sha256({"a": 1}) != options_sha256({"a": 2})
    told = row_to_json(replace(ROWS[3], options={"file": Path("x")}))
    assert (told["options"], told["options_sha256"]) == ({"file": "x"}, options_sha256({"file": "x"}))


@pytest.mark.parametrize(
    ("recipe", "options", "device", "asked"),
    [("low-rank-sft", {"rank": 4}, "cpu", True), ("low-rank-sft", {"rank": 8}, "cpu", False),
     ("low-rank-sft", {}, "cpu", False), ("low-rank-sft", {"rank": 4}, "cuda", False), ("random", {}, "cpu", True),
     ("random", {"rank": 4}, "cpu", False), ("none", {}, "cpu", True), ("none", {}, "cuda", False)],
)  # fmt: skip
def test_a_row_with_other_options_or_from_elsewhere_is_not_asked_for(
    recipe: str, options: dict[str, int], device: str, asked: bool
) -> None:
    settings = ReproduceSettings(
        model=Path("m"), recipes=("low-rank-sft", "random"), recipe_options={"low-rank-sft": {"rank": 4}}
    )
    made = replace(row("backdoor", recipe, 0.5), options=options, device=device)
    assert settings.asks_for(made) is asked
    assert settings.options_of(RowKey(attack="", seed=0, recipe="aligned")) == {}


@pytest.mark.parametrize(
    "recipe", ["../x", "a/b", "a@", "@a", "a@b@c", "a b", ".a", "a@b/c", "", "a\n"]
)
def test_a_recipe_is_named_so_that_a_file_can_be(recipe: str) -> None:
    with pytest.raises(ValidationError):
        ReproduceSettings(model=Path("m"), recipes=(recipe,))


@pytest.mark.parametrize(("recipe", "plugin"), [("a-b_2", "a-b_2"), ("restore-tuned@0.5", "restore-tuned")])
def test_what_stands_before_the_variant_is_the_plugin(recipe: str, plugin: str) -> None:
    assert ReproduceSettings(model=Path("m"), recipes=(recipe,)).recipes == (recipe,)
    key = RowKey(attack="x", seed=1, recipe=recipe)
    assert (key.plugin, key.name) == (plugin, f"x-s1-{recipe}")


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seconds": "x"}, "seconds"), ({"drift_removed": "x"}, "drift_removed"), ({"attack": 3}, "attack"),
     ({"figures": {"harm": [], "over_refusal": {}, "tasks": {}, "seconds": 1.0}}, "figures"),
     ({"figures": {"harm": []}}, "over_refusal"), ({"figures": []}, "figures"), ({"controls": [3]}, "controls"),
     ({"screen": {"harm_n": "many"}}, "harm_n"), ({"recipe_figures": {"loss": {}}}, "loss"), ({"asked": 3}, "asked"),
     ({"options": None}, "options"), ({"rank": [1]}, "rank")],
)  # fmt: skip
def test_what_is_no_row_is_told_by_its_part(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        row_from_json({**row_to_json(ROWS[3]), **change})


@pytest.mark.parametrize("part", ["attack", "seed", "recipe", "error", "figures", "seconds", "rank"])
def test_a_row_without_one_of_its_first_parts_is_none(part: str) -> None:
    told = row_to_json(ROWS[3])
    del told[part]
    with pytest.raises(ValueError, match=part):
        row_from_json(told)
    with pytest.raises(ValueError, match="JSON object"):
        row_from_json([told])
