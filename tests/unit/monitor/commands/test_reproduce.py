"""``alignd reproduce`` before its first row: what is told of a run, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from remediation.recipe_check import Fault, Looked, Rung
from remediation.reproduce import resolved
from remediation.reproduce.folder import ReproduceFolder
from remediation.reproduce.plan import ReproduceSettings
from remediation.reproduce.same import asked_of
from tests.unit.deploy.test_checkpoint import write_checkpoint
from tests.unit.monitor.command_line import Alignd, called_in
from tests.unit.remediation.reproduce.rows import row

ASKED = ("m", "--out", "run", "--attacks", "backdoor", "--recipes", "random,low-rank-sft", "--suite", "s.jsonl")
DONE = ["done   aligned", "to do  backdoor-s0-none", "to do  backdoor-s0-random", "to do  backdoor-s0-low-rank-sft"]


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    """Call the command beside a checkpoint and a suite; recipes are looked at without their process."""

    def looked(rungs: list[Rung]) -> tuple[Looked, ...]:
        assert all(r.control for r in rungs), "controls are rows as well"
        return tuple(
            Looked(fault=Fault(where=r.where, told=f"{r.where}: no option 'ranks'") if "ranks" in r.options else None,
                   options={"rank": 32, **r.options})
            for r in rungs
        )  # fmt: skip

    monkeypatch.setattr(resolved, "look_at", looked)
    write_checkpoint(tmp_path / "m")
    write_suite(tmp_path / "s.jsonl", "one")
    return called_in(tmp_path, monkeypatch, capsys, "reproduce")


def write_suite(file: Path, word: str) -> None:
    file.write_text(json.dumps({"prompt": f"Say {word}.", "category": "c"}))


def begin(folder: Path) -> None:
    """Put the aligned model's row down, as a run does that is cut short."""
    settings = ReproduceSettings(
        model=folder / "m", attacks=("backdoor",), recipes=("random", "low-rank-sft"),
        suites=(str(folder / "s.jsonl"),),
    )  # fmt: skip
    run = ReproduceFolder(folder / "run")
    run.begin(settings)
    made = row("", "aligned", 0.5)
    run.write(type(made)(key=made.key, figures=made.figures, asked=asked_of(settings)[""]))


def test_list_counts_rows_of_the_same_run_only(alignd: Alignd, tmp_path: Path) -> None:
    assert alignd(*ASKED, "--list")[1].splitlines()[0] == "to do  aligned"
    begin(tmp_path)
    assert alignd(*ASKED, "--list")[1].splitlines() == DONE
    others = ("m", "--out", "run", "--attacks", "injection-10", "--recipes", "random", "--suite", "s.jsonl", "--list")
    ReproduceFolder(tmp_path / "run").write(row("backdoor", "none", 0.5))
    assert alignd(*others)[1].splitlines() == [
        "done   aligned", "to do  injection-10-s0-none", "to do  injection-10-s0-random", "done   backdoor-s0-none",
    ]  # fmt: skip
    code, out, err = alignd(*ASKED, "--list", "--max-tokens", "7")
    assert (code, out) == (2, "")
    assert "another harm_tokens" in err
    write_suite(tmp_path / "s.jsonl", "two")
    code, out, err = alignd(*ASKED, "--list")
    assert (code, out) == (2, "")
    assert "aligned in" in err
    assert "another content of: harmful requests" in err


@pytest.mark.parametrize(("options", "word"), [({}, "anew"), ({"rank": 16}, "anew"), ({"rank": 32}, "done")])
def test_a_row_under_other_defaults_is_listed_as_to_be_made_anew(
    alignd: Alignd, tmp_path: Path, options: dict[str, int], word: str
) -> None:
    begin(tmp_path)
    ReproduceFolder(tmp_path / "run").write(replace(row("backdoor", "random", 0.5), options=options))
    assert f"{word}   backdoor-s0-random" in alignd(*ASKED, "--list")[1].splitlines()


@pytest.mark.parametrize("more", [(), ("--list",)])
def test_a_folder_that_is_no_runs_is_refused_first(alignd: Alignd, tmp_path: Path, more: tuple[str, ...]) -> None:
    mine = tmp_path / "run" / "work" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    code, out, err = alignd(*ASKED, *more)
    assert (code, out) == (2, "")
    assert "holds work, and no settings.json of a run" in err
    assert [p for p in (tmp_path / "run").rglob("*") if p.is_file()] == [mine]


@pytest.mark.parametrize(
    ("more", "told"),
    [(("--recipe-options", '{"random": 3}'), "--recipe-options random: must be a JSON object of its options, not 3"),
     (("--judges", '{"cascade": []}'), "--judges cascade: must be a JSON object of its options, not []"),
     (("--task-options", '{"sql": "x"}'), '--task-options sql: must be a JSON object of its options, not "x"'),
     (("--task-options", '{"sql": {"promts": 3}}'), "--tasks sql: plugin sql refuses its options: promts"),
     (("--judges", '{"cascade": {}}'), "--judges cascade: plugin cascade refuses its options: strong"),
     (("--recipes", "random,random@+"), "--recipes random@+: what follows the @ of a variant is letters, digits"),
     (("--device", "foo"), "--device foo: there are cpu, cuda, cuda:1 …, and auto"),
     (("--device", "cuda:"), "--device cuda:: there are cpu"),
     (("--tasks", "gsm8k=a", "--tasks", "gsm8k=b"), "--tasks gsm8k: given twice; a run asks each task of one file")],
)  # fmt: skip
def test_a_list_tells_mistakes_too(alignd: Alignd, more: tuple[str, ...], told: str) -> None:
    code, out, err = alignd(*ASKED, "--list", *more)
    assert (code, out) == (2, "")
    assert told in err


def test_a_list_of_a_model_that_is_not_there_is_none(alignd: Alignd) -> None:
    code, out, err = alignd("away", *ASKED[1:], "--list")
    assert (code, out) == (1, "")
    assert "away" in err


@pytest.mark.parametrize(
    ("more", "told"),
    [(("--recipe-options", '{"low-rank": {}}'), "--recipe-options low-rank: no such recipe runs; there are random,"),
     (("--recipe-options", '{"random@2": {}}'), "--recipe-options random@2: no such recipe runs"),
     (("--task-options", '{"gsm8k": {}}'), "--task-options gsm8k: no such task is asked; there are sql"),
     (("--task-options", '{"sql": {"promts": 3}}'), "promts"),
     (("--tasks", "sql", "--task-options", '{"sgl": {}}'), "--task-options sgl: no such task is asked"),
     (("--recipe-options", '{"low-rank-sft": {"ranks": 3}}'), "--recipe-options low-rank-sft: no option")],
)  # fmt: skip
def test_options_are_looked_at_before_the_first_row(
    alignd: Alignd, tmp_path: Path, more: tuple[str, ...], told: str
) -> None:
    code, out, err = alignd(*ASKED, *more)
    assert (code, out) == (2, "")
    assert told in err
    assert not (tmp_path / "run").exists()
