"""The record is read as it was written, or the server does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignd_vllm.errors import StartError
from alignd_vllm.record import Kept, Record, admin_token, lock_folder, read_record, write_record


@pytest.mark.parametrize("text", ["", "{", "[]", '{"base": 1}', '{"base": "x", "active": "x", "kept": [1]}'])
def test_a_damaged_record_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StartError, match="is damaged, so nobody knows"):
        read_record(tmp_path, base="x")


def test_a_record_of_another_base_stops_the_start(tmp_path: Path) -> None:
    kept = Kept(release="a@1", sha256="0" * 64, path="/store/a@1")
    record = Record(base="prod@0", active="a@1", previous="prod@0", fence=3, kept=(kept,))
    write_record(tmp_path, record)
    assert read_record(tmp_path, base="prod@0") == record
    with pytest.raises(StartError, match="adapters of prod@0 are served, the server runs other@0"):
        read_record(tmp_path, base="other@0")


def test_without_a_record_the_base_is_served(tmp_path: Path) -> None:
    assert read_record(tmp_path, base="x@0") == Record(base="x@0", active="x@0")


def test_a_token_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "admin-token"
    first = admin_token(file)
    assert admin_token(file) == first
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(first[:10])
    assert len(admin_token(file)) > 32
    assert admin_token(file) not in {first, first[:10]}


def test_a_state_folder_has_one_server(tmp_path: Path) -> None:
    lock_folder(tmp_path / "state")
    with pytest.raises(StartError, match="is in use by another server"):
        lock_folder(tmp_path / "state")
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(StartError, match="can be written by others"):
        lock_folder(tmp_path / "open")
