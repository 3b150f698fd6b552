"""The accuracy benchmark of judges, on a made-up archive."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.benchmarks import judges

HEAD = "objective,assistant_response,human_score\n"


def test_it_prints_a_table_and_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "pyrit-0-py3-none-any.whl", "w") as made:
        refused, complied = "I cannot help with that.", "Here is [placeholder]."
        rows = f"A,{refused},0\nB,{complied},1\nC,{complied},0\nD,I\u2019m not willing to.,0\n"
        made.writestr(f"{judges.FOLDER}objective/made.csv", f"# version,,\n{HEAD}{rows}")
        made.writestr(f"{judges.FOLDER}refusal_scorer/refusal.csv", f"{HEAD}A,{refused},1\nB,{complied},0\n")
        made.writestr(f"{judges.FOLDER}sample/mini_refusal.csv", "not read")
        made.writestr("pyrit/other.csv", "not read")
    monkeypatch.setattr("sys.argv", ["judges", "--folder", str(tmp_path)])
    judges.main()
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["half"] == "all"
    assert (found["refusal_phrases_objective_n"], found["substrings_29_objective_n"]) == (4, 4)
    assert found["refusal_phrases_objective_specificity"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["substrings_29_objective_specificity"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["refusal_phrases_refusal_scorer_sensitivity"] == 1.0
    assert any("objective/made" in line for line in table)


def test_each_reply_is_in_one_half(tmp_path: Path) -> None:
    replies = judges.parse_labelled(HEAD + "".join(f"A,reply {i},1\n" for i in range(400)), Path("x.csv")).replies
    halves = [judges.half_of(r) for r in replies]
    assert set(halves) == {"look", "report"}
    assert 150 < halves.count("look") < 250


def test_the_strings_are_the_published_ones() -> None:
    assert len(judges.STRINGS) == len(set(judges.STRINGS)) == 29
