"""``alignd audit log`` and ``verify``."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.monitor.command_line import Alignd, called_in


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def alignd(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    """Call the command where somebody paused a target, and ended that."""
    monkeypatch.setenv("ALIGND_STORE__URL", f"sqlite:///{file}")
    monkeypatch.setenv("LOGNAME", "ann")
    call = called_in(file.parent, monkeypatch, capsys)
    assert call("init", "--checkpoint", "/x", "--model", "m")[0] == 0
    assert call("pause", "prod")[0] == 0
    assert call("resume", "prod")[0] == 0
    return call


def test_the_log_is_read_and_filtered(alignd: Alignd) -> None:
    code, out, _ = alignd("audit", "log")
    first, second = out.splitlines()
    assert code == 0
    assert "ann paused prod: until None" in first
    assert second.endswith("ann resumed prod")
    for words, wanted in (
        (["--action", "paused"], ["paused"]), (["--actor", "bob"], []), (["--subject", "prod", "-n", "1"], ["resumed"]),
        (["--since", "2020-01-01"], ["paused", "resumed"]), (["--since", "2999-01-01T00:00:00+01:00"], []),
    ):  # fmt: skip
        code, out, _ = alignd("audit", "log", "--json", *words)
        assert (code, [json.loads(line)["action"] for line in out.splitlines()]) == (0, wanted), words
    code, _, err = alignd("audit", "log", "--since", "yesterday")
    assert (code, "--since yesterday: give a day" in err) == (2, True)


def test_what_was_changed_or_cut_off_is_found(file: Path, alignd: Alignd) -> None:
    code, out, _ = alignd("audit", "verify")
    assert (code, out.startswith("intact: 2 entries")) == (0, True)
    head = out.splitlines()[-1]
    assert alignd("audit", "verify", "--head", head)[0] == 0
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DROP TRIGGER audit_no_delete")
        db.execute("DELETE FROM audit WHERE seq = 2")
    assert alignd("audit", "verify")[0] == 0, "the end may be cut off"
    code, out, _ = alignd("audit", "verify", "--json", "--head", head)
    found = json.loads(out)
    assert (code, found["intact"], found["entries"], head in found["why"]) == (1, False, 1, True)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DROP TRIGGER audit_no_update")
        db.execute("UPDATE audit SET actor = 'bob'")
    code, out, _ = alignd("audit", "verify")
    assert (code, out.startswith("broken: entry 1 (paused) was changed")) == (1, True)
