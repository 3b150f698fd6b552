"""What is found wrong with a ladder before an incident needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from remediation.errors import WorkerDied
from remediation.recipe_check import Rung, check_rungs, fault_of, look_at

WHERE = "targets.prod.recipes[0]"


def told(recipe: str, **options: object) -> str:
    fault = fault_of(Rung(where=WHERE, recipe=recipe, options=options))
    return fault.told if fault else ""


@pytest.mark.parametrize("recipe", ["few-shot-subspace", "low-rank-sft", "one-shot-sft", "restore-subspace"])
def test_a_recipe_of_its_defaults_is_fine(recipe: str) -> None:
    assert told(recipe) == ""


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ("restore-subspace", {"rnk": 4}, f"{WHERE}: recipe restore-subspace refuses its options: no option 'rnk'"),
        ("restore-subspace", {"rnk": 4}, "; there are: refusals, harmless, over_refusals, task_prompts, rank,"),
        ("restore-subspace", {"rank": 100}, "rank: input should be less than or equal to 64 (given: 100)"),
        ("restore-subspace", {"rank": "many", "strength": -1}, "strength: input should be greater than 0 (given: -1)"),
        ("one-shot-subspace", {"dose": float("inf")}, "dose: input should be a finite number (given: inf)"),
        ("few-shot-subspace", {"dose": float("nan")}, "dose: input should be a finite number (given: nan)"),
        ("low-rank-sft", {"learning_rate": float("inf")}, "learning_rate: input should be a finite number"),
        ("few-shot-subspace", {"modules": "(up"}, "modules: '(up' is no regular expression (missing )"),
        ("one-shot-subspce", {}, f"{WHERE}: no recipe 'one-shot-subspce'; there are: "),
        ("one-shot-sft", {"refusal": " \n"}, "refusal: ' \\n' has no words; give a sentence that declines"),
        ("kept-subspace", {"refusal": "\x00"}, "refusal: '\\x00' has no words; give a sentence that declines"),
        ("random", {}, f"{WHERE}: random is a control"),
        ("benign", {}, "take it out of the ladder, or choose of: few-shot-subspace"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(recipe: str, options: dict[str, Any], words: str) -> None:
    assert words in told(recipe, **options)


def test_a_control_is_not_offered_in_place_of_a_control() -> None:
    assert "random" not in told("benign").split("choose of:")[1]


def test_files_must_be_there_and_have_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    assert f"task_prompts: {file} can't be read (No such file" in told("restore-subspace", task_prompts=str(file))
    assert f"pool: {file} can't be read (No such file" in told("few-shot-subspace", pool=str(file))
    file.write_text("---\n")
    assert f"pool: {file} has no prompt; give a text file" in told("few-shot-subspace", pool=str(file))
    file.write_bytes(b"\xff\xfe")
    assert f"task_prompts: {file} is no UTF-8 text" in told("restore-subspace", task_prompts=str(file))
    file.write_text("How do I sort a list?\n")
    assert told("few-shot-subspace", pool=str(file)) == ""


def test_files_that_are_made_need_a_folder_only(tmp_path: Path) -> None:
    assert told("few-shot-subspace", pool_key=str(tmp_path / "key"), pool_state=str(tmp_path / "state")) == ""
    assert "pool_key: " in told("few-shot-subspace", pool_key=str(tmp_path / "none" / "key"))
    assert "pool_state: " in told("few-shot-subspace", pool_state=str(tmp_path))
    assert list(tmp_path.iterdir()) == [], "a look makes nothing"


def test_one_child_looks_at_all_and_the_watcher_has_no_torch() -> None:
    asked = """
import sys
from monitor.ladder_check import check_ladders
from remediation.recipe_check import Rung, check_rungs
rungs = [Rung(where=f"r{n}", recipe=r) for n, r in enumerate(["one-shot-sft", "random", "none"])]
print(*[f.where for f in check_rungs(rungs)], "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["r1", "r2", "False"]
    assert check_rungs([]) == ()


def test_options_are_told_with_their_defaults(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("How do I sort a list?")
    given = {"strength": 2, "task_prompts": prompts}
    tuned = Rung(where=WHERE, recipe="restore-tuned", options=given)
    fine, wrong = look_at([tuned, Rung(where=WHERE, recipe="random", options={"rnk": 1})])
    assert fine.fault is None
    assert fine.options.items() >= {"rank": 32, "strength": 2.0, "task_prompts": str(prompts), "fits": 1}.items()
    assert (wrong.fault is None, wrong.options) == (False, {"rnk": 1})


def test_a_plugin_says_itself_that_it_is_a_control(plugin: Path) -> None:
    (plugin / "own.py").write_text("CONTROL = True\nprint('noise')\n")
    (fault,) = check_rungs([Rung(where=WHERE, recipe="own")])
    assert "own is a control" in fault.told
    assert not fault.unchecked


def test_a_recipe_that_can_not_be_imported_is_not_checked(plugin: Path) -> None:
    (plugin / "own.py").write_text("import torch_that_is_not_there\n")
    (fault,) = check_rungs([Rung(where=WHERE, recipe="own")])
    assert "No module named 'torch_that_is_not_there'" in fault.told
    assert "install alignd[patch]" in fault.told
    assert fault.unchecked


def test_a_child_that_ends_without_an_answer_is_told_apart(plugin: Path) -> None:
    (plugin / "own.py").write_text("import os\nos._exit(3)\n")
    with pytest.raises(WorkerDied, match="ended with 3 and no result"):
        check_rungs([Rung(where=WHERE, recipe="own")])
    (plugin / "own.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(WorkerDied, match=r"not looked at in 0\.5 s"):
        check_rungs([Rung(where=WHERE, recipe="own")], timeout_seconds=0.5)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the child's path whose module ``own`` is a recipe."""
    info = tmp_path / "own-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[alignd.patchers]\nown = own\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("recipe", ["random", "benign"])
def test_a_control_may_stand_where_recipes_are_measured(recipe: str) -> None:
    assert fault_of(Rung(where=WHERE, recipe=recipe)) is not None
    assert fault_of(Rung(where=WHERE, recipe=recipe, control=True)) is None
