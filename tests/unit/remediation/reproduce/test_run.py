"""Which rows a start makes, with a stand-in for their processes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from remediation.errors import ReproduceError
from remediation.reproduce import run
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import ReproduceSettings, Row, RowKey
from remediation.reproduce.run import run_rows
from tests.unit.deploy.test_checkpoint import write_checkpoint
from tests.unit.remediation.reproduce.rows import row

ATTACK = "backdoor"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReproduceFolder:
    """A run whose rows are made in a moment; its drifted checkpoint is of one tensor."""
    write_checkpoint(tmp_path / "m")
    folder = ReproduceFolder(tmp_path / "run")

    def child(arguments: Sequence[str], _folder: Path, _say: object) -> tuple[int, str]:
        if "remediation.sft.drift" in arguments:
            write_checkpoint(Path(arguments[arguments.index("--output") + 1]))
            return 0, ""
        settings, name = folder.settings(), arguments[-1]
        if "dies" in name:
            return -9, ""
        recipe = name.removeprefix(f"{ATTACK}-s0-")
        made = row("" if recipe == "aligned" else ATTACK, recipe, 0.5)
        folder.write(replace(made, options=settings.options_of(made.key), device=settings.device))
        return 0, ""

    monkeypatch.setattr(run, "_child", child)
    return folder


def made(folder: ReproduceFolder, **change: object) -> list[str]:
    told: list[Row] = []
    run_rows(folder, asked(folder, **change), on_row=told.append, say=lambda *_: None)
    return [r.key.name.removeprefix(f"{ATTACK}-s0-") for r in told]


def asked(folder: ReproduceFolder, **change: object) -> ReproduceSettings:
    model = folder.path.parent / "m"
    return ReproduceSettings.model_validate({"model": model, "attacks": (ATTACK,), "recipes": ("a", "b"), **change})


def test_rows_with_other_options_are_made_anew_and_no_others(folder: ReproduceFolder) -> None:
    assert made(folder) == ["aligned", "none", "a", "b"]
    assert made(folder) == []
    assert made(folder, recipe_options={"b": {"rank": 2}, "c": {"rank": 3}}) == ["b"]
    assert folder.done()[f"{ATTACK}-s0-b"].options == {"rank": 2}
    assert made(folder, recipe_options={"b": {"rank": 2}}) == []
    assert made(folder) == ["b"]


def test_another_device_makes_every_row_anew(folder: ReproduceFolder) -> None:
    made(folder)
    assert made(folder, device="cuda") == ["aligned", "none", "a", "b"]
    assert {r.device for r in folder.done().values()} == {"cuda"}


def test_what_was_made_otherwise_stands_in_no_table(folder: ReproduceFolder) -> None:
    made(folder)
    rows = folder.rows(asked(folder, recipe_options={"b": {"rank": 2}}))
    assert [r.key.recipe for r in rows] == ["aligned", "none", "a"]


def test_a_row_whose_process_died_tells_what_was_asked(folder: ReproduceFolder) -> None:
    change = {"recipes": ("dies",), "recipe_options": {"dies": {"rank": 9}}}
    assert made(folder, **change) == ["aligned", "none", "dies"]
    died = folder.done()[f"{ATTACK}-s0-dies"]
    assert "signal 9" in died.error
    assert died.options == {"rank": 9}
    assert made(folder, **change) == []


def test_a_drifted_checkpoint_that_stands_there_is_looked_at_before_the_first_row(folder: ReproduceFolder) -> None:
    there = folder.path / "drifted" / f"{ATTACK}-s0"
    write_checkpoint(there, hidden=8)
    with pytest.raises(ReproduceError, match=f"another architecture .*remove {there}"):
        made(folder)
    assert folder.done() == {}
    (there / "config.json").unlink()
    with pytest.raises(ReproduceError, match=r"config\.json"):
        made(folder)
    shutil.rmtree(there)
    write_checkpoint(there)
    assert made(folder) == ["aligned", "none", "a", "b"]


def test_a_row_that_is_not_wanted_is_left_out(folder: ReproduceFolder) -> None:
    told: list[str] = []

    def wanted(key: RowKey, done: Mapping[str, Row]) -> bool:
        told.append(f"{key.recipe} after {len(done)}")
        return key.recipe != "a"

    run_rows(folder, asked(folder), on_row=lambda _: None, say=lambda *_: None, wanted=wanted)
    assert told == ["aligned after 0", "none after 1", "a after 2", "b after 2"]
    assert sorted(folder.done()) == ["aligned", f"{ATTACK}-s0-b", f"{ATTACK}-s0-none"]


def test_variants_of_a_recipe_are_rows_of_their_own(folder: ReproduceFolder) -> None:
    change = {"recipes": ("a", "a@0.5"), "recipe_options": {"a@0.5": {"share": 0.5}}}
    assert made(folder, **change) == ["aligned", "none", "a", "a@0.5"]
    done = folder.done()
    assert (done[f"{ATTACK}-s0-a"].options, done[f"{ATTACK}-s0-a@0.5"].options) == ({}, {"share": 0.5})
    assert made(folder, **change) == []
