"""The composition root: what targets have in common is there once."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.bootstrap import suite_of
from probes.behavior import SuiteKind


def test_a_suite_s_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("prompt\nSay one.\nSay two.\n")
    first = suite_of(str(file), SuiteKind.HARM, "targets.one.suites.harm")
    assert suite_of(str(file), SuiteKind.HARM, "targets.two.suites.harm") is first
    before = file.stat().st_mtime_ns
    file.write_text("prompt\nSay one.\nSay three.\n")
    os.utime(file, ns=(before, before + 1))
    assert [b.prompt for b in suite_of(str(file), SuiteKind.HARM, "x").behaviors] == ["Say one.", "Say three."]
