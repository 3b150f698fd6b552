"""``alignd probe``: what it tells, and how it ends."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from monitor.asking import _ad_hoc
from monitor.commands.probe import _tell
from monitor.errors import ConfigError
from probes.statistics.evalues import Decision
from tests.unit.monitor.test_probe_report import HEADER, NASTY, NONE, found

ASKED: Any = SimpleNamespace(header=lambda *_: HEADER)


def told(out: Path | None = None, *, as_json: bool = False, **given: Any) -> int:  # noqa: ANN401
    what = replace(found(decision=Decision.ACCEPT), **given)
    with pytest.raises(typer.Exit) as ended:
        _tell(what, ASKED, out, (), as_json=as_json)
    return ended.value.exit_code


def test_what_a_server_or_plugin_says_is_no_markup(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "[red]").mkdir()
    assert told(tmp_path / "[red]", estimate=NONE, missing=Counter({NASTY: 9})) == 5
    shown = capsys.readouterr().out
    assert "(9 [/foo][red]:skull:?[31m???" in shown
    assert "[red]/report.html" in shown
    assert not any(c in shown for c in "\x1b\x00\ud800\u202e")


def test_json_holds_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(as_json=True, estimate=NONE, missing=Counter({NASTY: 9})) == 5
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert json.loads(shown)["missing"] == {NASTY: 9}


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EIO, 1), (errno.EACCES, 2), (errno.ENOENT, 2)])
def test_a_full_disk_is_a_crash_and_a_wrong_folder_is_not(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    assert told(tmp_path) == code
    shown = capsys.readouterr()
    assert "healthy" in shown.out
    assert f"{tmp_path}/report.html: can't be written ({os.strerror(number)})" in shown.err


@pytest.mark.parametrize("endpoint", ["foo", "ftp://x/V1", "http://a b", "x" * 500, "\x1b[31m"])
def test_an_endpoint_that_is_no_url_is_told_plainly(endpoint: str) -> None:
    ask: Any = SimpleNamespace(endpoint=endpoint, model="m", api_key="")
    with pytest.raises(ConfigError) as caught:
        _ad_hoc(ask)
    assert str(caught.value) == f"--endpoint: {endpoint[:80]!r} is no URL; write it like http://127.0.0.1:8000/v1"
