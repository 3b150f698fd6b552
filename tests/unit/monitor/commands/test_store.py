"""``alignd store check``, ``upgrade`` and ``copy``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.stores.database import Database
from monitor.stores.versions import known_versions
from tests.old_store import rows_of, write_old_store
from tests.unit.monitor.command_line import Alignd, called_in

NEWEST = known_versions()[-1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def alignd(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    monkeypatch.setenv("ALIGND_STORE__URL", f"sqlite:///{file}")
    call = called_in(file.parent, monkeypatch, capsys)
    assert call("init", "--checkpoint", "/x", "--model", "m")[0] == 0
    return call


def test_an_old_store_is_looked_at_and_upgraded(file: Path, alignd: Alignd) -> None:
    write_old_store(file)
    before = rows_of(file)
    code, out, _ = alignd("store", "check", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["version"], found["newest"], found["faults"]) == ("0000", NEWEST, [])
    assert found["rows"] == {table: len(rows) for table, rows in before.items()}
    assert rows_of(file) == before, "looking changes nothing"
    assert alignd("pause", "prod")[0] == 1, "other commands refuse it"
    assert alignd("store", "upgrade")[:2] == (0, f"store {file}: upgraded from version 0000 to {NEWEST}\n")
    assert alignd("store", "upgrade")[:2] == (0, f"store {file}: is of version {NEWEST} already\n")
    assert alignd("pause", "prod")[0] == 0
    code, out, _ = alignd("store", "check")
    assert code == 0
    assert f"version {NEWEST}, this alignd writes {NEWEST}" in out
    assert out.endswith("whole\n")


def test_no_upgrade_under_a_daemon(file: Path, alignd: Alignd) -> None:
    write_old_store(file)
    held = Database(f"sqlite:///{file}")
    held.hold()
    code, _, err = alignd("store", "upgrade")
    held.close()
    assert (code, "another daemon" in err) == (2, True)


def test_a_damaged_page_is_found(file: Path, alignd: Alignd) -> None:
    assert alignd("store", "upgrade")[0] == 0
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    file.write_bytes(content)
    code, out, err = alignd("store", "check")
    assert code == 1
    assert "damaged" in out + err


def test_what_is_not_there_is_not_made(file: Path, alignd: Alignd) -> None:
    code, _, err = alignd("store", "check")
    assert (code, "no such file" in err, file.exists()) == (1, True, False)


def test_a_store_is_copied_whole_and_once(file: Path, alignd: Alignd) -> None:
    write_old_store(file)
    assert alignd("store", "upgrade")[0] == 0
    assert alignd("pause", "prod")[0] == 0
    there = file.parent / "elsewhere" / "t.db"
    code, out, _ = alignd("store", "copy", f"sqlite:///{there}")
    assert code == 0
    assert out.endswith(f"copied {file} to {there}; give the daemon that store.url now, and start it\n")
    old, new = rows_of(file), rows_of(there)
    *log, last = new.pop("audit")
    assert (log, last[3:5]) == (old.pop("audit"), ("store_copied", str(there)))
    assert (len(old.pop("holders")), new.pop("holders")) == (2, []), "who held it is not for the other one"
    assert new.keys() == old.keys()
    assert all(sorted(new[table], key=repr) == sorted(old[table], key=repr) for table in old)
    code, _, err = alignd("store", "copy", f"sqlite:///{there}")
    assert (code, "holds records already" in err) == (1, True)


def test_no_copy_under_a_daemon_nor_of_nothing_nor_of_what_is_damaged(file: Path, alignd: Alignd) -> None:
    there = file.with_name("t.db")
    code, _, err = alignd("store", "copy", f"sqlite:///{there}")
    assert (code, "no such file" in err, file.exists(), there.exists()) == (1, True, False, False)
    held = Database(f"sqlite:///{file}")
    held.hold()
    code, _, err = alignd("store", "copy", f"sqlite:///{there}")
    held.close()
    assert (code, "another daemon" in err, there.exists()) == (2, True, False)
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    file.write_bytes(content)
    code, _, err = alignd("store", "copy", f"sqlite:///{there}")
    assert (code, "is damaged" in err or "malformed" in err, there.exists()) == (1, True, False)
