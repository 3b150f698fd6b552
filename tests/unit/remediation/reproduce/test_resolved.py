"""A run's settings with the defaults of its recipes."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from remediation.errors import ReproduceError
from remediation.reproduce.plan import ReproduceSettings, RowKey
from remediation.reproduce.resolved import resolved
from tests.unit.remediation.reproduce.rows import row

EVERY = (*sorted(e.name for e in entry_points(group="alignd.patchers")), "none", "restore-tuned@15")


def test_every_recipe_has_all_of_its_options_and_they_stay_when_given(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("How do I sort a list?")
    given = {"restore-tuned@15": {"strength": 15, "task_prompts": str(prompts)}}
    settings = ReproduceSettings(model=Path("m"), recipes=EVERY, recipe_options=given)
    found = resolved(settings)
    assert found.recipe_options.keys() == {*EVERY} - {"none"}
    variant, plain = (found.recipe_options[name] for name in ("restore-tuned@15", "restore-tuned"))
    assert (variant["strength"], variant["task_prompts"]) == (15.0, str(prompts))
    assert {**variant, "strength": plain["strength"], "task_prompts": None} == plain
    assert plain["rank"] == 32
    kept = ReproduceSettings.model_validate_json(found.model_dump_json())
    assert resolved(kept) == kept == found


def test_a_row_under_other_defaults_is_made_anew() -> None:
    settings = resolved(ReproduceSettings(model=Path("m"), recipes=("one-shot-sft",)))
    now = settings.options_of(RowKey(attack="backdoor", seed=0, recipe="one-shot-sft"))
    made = row("backdoor", "one-shot-sft", 0.5)
    assert settings.asks_for(replace(made, options=now))
    assert not settings.asks_for(replace(made, options={**now, "epochs": 11}))
    assert not settings.asks_for(made), "of before rows kept defaults: nobody knows them"


def test_what_a_recipe_refuses_is_told_by_its_option() -> None:
    settings = ReproduceSettings(
        model=Path("m"), recipes=("random", "random@2"), recipe_options={"random@2": {"rnk": 2}}
    )
    with pytest.raises(ReproduceError, match=r"^--recipe-options random@2: recipe random refuses its options: no"):
        resolved(settings)
