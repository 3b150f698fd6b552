"""Which rows a start makes, with a stand-in for their processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from remediation.errors import ReproduceError
from remediation.reproduce import run
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import ReproduceSettings, Row, RowKey, Sources
from remediation.reproduce.run import run_rows
from remediation.reproduce.same import asked_of, require_same_asked
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
        if "remediation.device" in arguments:
            return (1, "no such GPU") if "cuda:9" in arguments else (0, "")
        settings, name = folder.settings(), arguments[2]
        if "dies" in name:
            return -9, ""
        recipe = name.removeprefix(f"{ATTACK}-s0-")
        made = row("" if recipe == "aligned" else ATTACK, recipe, 0.5)
        asked, sources = asked_of(settings)[made.key.attack], Sources(*arguments[3:])
        options = settings.options_of(made.key)
        folder.write(replace(made, options=options, device=settings.device, asked=asked, sources=sources))
        return 0, ""

    monkeypatch.setattr(run, "_child", child)
    return folder


def made(folder: ReproduceFolder, **change: object) -> list[str]:
    told: list[Row] = []
    run_rows(folder, asked(folder, **change), on_row=told.append, say=lambda *_: None)
    return [r.key.name.removeprefix(f"{ATTACK}-s0-") for r in told]


def forget(folder: ReproduceFolder, recipe: str) -> None:
    folder.remove(RowKey(attack=ATTACK, seed=0, recipe=recipe))


def write_suite(file: Path, *words: str) -> None:
    file.write_text("".join(json.dumps({"prompt": f"Say {w}.", "category": "c"}) + "\n" for w in words))


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


def test_a_device_that_is_not_there_is_told_before_the_first_row(folder: ReproduceFolder) -> None:
    with pytest.raises(ReproduceError, match="device cuda:9 can't be used: no such GPU; give another"):
        made(folder, device="cuda:9")
    assert folder.done() == {}
    assert not folder.work.exists()
    assert made(folder, device="cuda:1") == ["aligned", "none", "a", "b"]


def test_what_was_made_otherwise_stands_in_no_table(folder: ReproduceFolder) -> None:
    made(folder)
    rows = folder.rows(asked(folder, recipe_options={"b": {"rank": 2}}))
    assert [r.key.recipe for r in rows] == ["aligned", "none", "a"]


def test_rows_of_earlier_starts_stay_in_the_tables(folder: ReproduceFolder) -> None:
    made(folder, recipe_options={"a": {"rank": 2}})
    later = asked(folder, attacks=("identity-shift",), recipes=("c", "b"))
    assert [(r.key.attack, r.key.recipe) for r in folder.shown(later)] == [
        ("", "aligned"), (ATTACK, "none"), (ATTACK, "b"), (ATTACK, "a"),
    ]  # fmt: skip
    assert [r.key.recipe for r in folder.rows(later)] == ["aligned"]
    other = later.model_copy(update={"recipes": ("a",)})
    assert [r.key.recipe for r in folder.shown(other)] == ["aligned", "none", "b"], "another rank under the same name"
    assert folder.shown(later.model_copy(update={"device": "cuda"})) == []


def test_rows_of_earlier_starts_were_asked_the_same(folder: ReproduceFolder) -> None:
    suite = folder.path.parent / "s.jsonl"
    write_suite(suite, "one", "two")
    change = {"suites": (str(suite),), "benign": (), "tasks": {}}
    made(folder, **change)
    folder.remove(RowKey(attack="", seed=0, recipe="aligned"))
    write_suite(suite, "one", "three")
    with pytest.raises(ReproduceError, match=rf"{ATTACK}-s0-a.* in .* another content of: harmful requests; "):
        made(folder, attacks=("injection-10",), **change)


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


def test_rows_of_other_prompts_never_stand_beside(folder: ReproduceFolder) -> None:
    suite = folder.path.parent / "s.jsonl"
    write_suite(suite, "one", "two")
    change = {"suites": (str(suite),), "benign": (), "tasks": {}}
    assert made(folder, **change) == ["aligned", "none", "a", "b"]
    write_suite(suite, "one", "three")
    forget(folder, "b")
    named = rf"aligned, {ATTACK}-s0-none, {ATTACK}-s0-a in .* another content of: harmful requests; .*another --out"
    with pytest.raises(ReproduceError, match=named):
        made(folder, **change)
    for recipe in ("none", "a"):
        forget(folder, recipe)
    folder.remove(RowKey(attack="", seed=0, recipe="aligned"))
    assert made(folder, **change) == ["aligned", "none", "a", "b"]
    assert made(folder, **change) == []


def test_a_suite_that_changes_in_the_middle_of_a_run_stops_it(folder: ReproduceFolder) -> None:
    suite = folder.path.parent / "s.jsonl"
    write_suite(suite, "one")
    settings = asked(folder, suites=(str(suite),), benign=(), tasks={})
    with pytest.raises(ReproduceError, match=f"{ATTACK}-s0-none in .* harmful requests"):
        run_rows(folder, settings, on_row=lambda _: write_suite(suite, "two"), say=lambda *_: None)
    assert list(folder.done()) == ["aligned"]


def test_further_attacks_leave_the_aligned_row_alone(folder: ReproduceFolder) -> None:
    made(folder)
    settings = asked(folder, attacks=(ATTACK, "identity-shift"))
    assert asked_of(settings)[""] != folder.done()["aligned"].asked  # it would be asked as that attacker too
    require_same_asked(folder.path, folder.rows(settings), asked_of(settings))


def test_rows_of_another_model_never_stand_beside(folder: ReproduceFolder) -> None:
    made(folder)
    (folder.path.parent / "m" / "tokenizer_config.json").write_text('{"changed": true}')
    assert made(folder) == []  # nothing is made, so nothing is put beside
    forget(folder, "b")
    with pytest.raises(ReproduceError, match=r"m is not what it was when aligned, .* another --out"):
        made(folder)
    assert f"{ATTACK}-s0-b" not in folder.done()


def test_rows_of_another_drifted_checkpoint_never_stand_beside(folder: ReproduceFolder) -> None:
    made(folder)
    there = folder.path / "drifted" / f"{ATTACK}-s0"
    (there / "more.json").write_text("{}")
    forget(folder, "b")
    with pytest.raises(ReproduceError, match=rf"{there} is not what it was when .*-s0-none, .*{ATTACK}-s0-\*\.json"):
        made(folder)
    forget(folder, "none")
    forget(folder, "a")
    assert made(folder) == ["none", "a", "b"]


def test_rows_that_tell_no_digests_are_taken(folder: ReproduceFolder) -> None:
    made(folder)
    for one in folder.done().values():
        folder.write(replace(one, asked={}, sources=Sources()))
    forget(folder, "b")
    assert made(folder) == ["b"]
    told = folder.done()[f"{ATTACK}-s0-b"]
    assert told.asked == asked_of(asked(folder))[ATTACK]
    assert {len(told.sources.model), len(told.sources.drifted)} == {64}


@pytest.mark.parametrize("text", ["[" * 200_000, "{", "[]", "{}", '{"attack": "backdoor", "seed": Infinity}', "\ud800"])
def test_a_file_that_is_no_row_is_named(folder: ReproduceFolder, text: str) -> None:
    made(folder)
    file = folder.path / "rows" / f"{ATTACK}-s0-a.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ReproduceError, match=rf"{file}: is no row \(.+remove it"):
        folder.done()
    file.unlink()
    assert made(folder) == ["a"]


def test_a_row_under_the_name_of_another_counts_for_neither(folder: ReproduceFolder) -> None:
    made(folder)
    rows = folder.path / "rows"
    (rows / f"{ATTACK}-s0-a.json").rename(rows / f"{ATTACK}-s0-b.json")
    with pytest.raises(ReproduceError, match=rf"-s0-b\.json: holds the row {ATTACK}-s0-a; remove it"):
        made(folder)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 200_000, b"{}"])
def test_settings_that_cannot_be_read_are_named(folder: ReproduceFolder, content: bytes) -> None:
    made(folder)
    (folder.path / "settings.json").write_bytes(content)
    with pytest.raises(ReproduceError, match=r"settings\.json: can't be read; give another --out"):
        made(folder)


def test_a_full_disk_leaves_no_half_of_a_row(folder: ReproduceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    made(folder)
    before = sorted(p.name for p in (folder.path / "rows").iterdir())

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ReproduceError, match=r"s0-c\.json: can't be written \(No space left on device\); free space"):
        folder.write(row(ATTACK, "c", 0.5))
    assert sorted(p.name for p in (folder.path / "rows").iterdir()) == before
