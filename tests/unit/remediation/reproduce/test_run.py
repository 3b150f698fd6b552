"""Which rows a start makes, with a stand-in for their processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from remediation.reproduce import run
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import ReproduceSettings, Row
from remediation.reproduce.run import run_rows
from tests.unit.remediation.reproduce.rows import row

ATTACK = "backdoor"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReproduceFolder:
    """A run whose rows are made in a moment; its drifted checkpoint is an empty folder."""
    folder = ReproduceFolder(tmp_path / "run")

    def child(arguments: Sequence[str], _folder: Path, _say: object) -> tuple[int, str]:
        if "remediation.sft.drift" in arguments:
            Path(arguments[arguments.index("--output") + 1]).mkdir(parents=True)
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
    run_rows(folder, asked(**change), on_row=told.append, say=lambda *_: None)
    return [r.key.name.removeprefix(f"{ATTACK}-s0-") for r in told]


def asked(**change: object) -> ReproduceSettings:
    return ReproduceSettings.model_validate({"model": Path("m"), "attacks": (ATTACK,), "recipes": ("a", "b"), **change})


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
    rows = folder.rows(asked(recipe_options={"b": {"rank": 2}}))
    assert [r.key.recipe for r in rows] == ["aligned", "none", "a"]


def test_a_row_whose_process_died_tells_what_was_asked(folder: ReproduceFolder) -> None:
    change = {"recipes": ("dies",), "recipe_options": {"dies": {"rank": 9}}}
    assert made(folder, **change) == ["aligned", "none", "dies"]
    died = folder.done()[f"{ATTACK}-s0-dies"]
    assert "signal 9" in died.error
    assert died.options == {"rank": 9}
    assert made(folder, **change) == []
