"""Lines of a day's file, from the last one back."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import TranscriptError
from probes.transcripts import files
from probes.transcripts.files import days_of, lines_before

LINES = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"-")), max_size=12)


@settings(deadline=None, max_examples=60)
@given(lines=LINES, ended=st.booleans(), block=st.integers(1, 9))
def test_it_reads_what_reading_forwards_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ended: bool, block: int
) -> None:
    path = tmp_path_factory.mktemp("day") / "a.jsonl"
    content = b"\n".join(lines) + b"\n" * ended
    path.write_bytes(content)
    forwards, at = [], 0
    for line in _split(content):
        if line.strip():
            forwards.append((at, line))
        at += len(line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_BLOCK", block)
        assert list(lines_before(path)) == forwards[::-1]
        for place, _ in forwards:
            assert list(lines_before(path, place)) == [f for f in forwards[::-1] if f[0] < place]


def _split(content: bytes) -> list[bytes]:
    *whole, last = content.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])


def test_a_line_that_is_being_written_waits_for_the_next_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\ntwo\n")
    lines = lines_before(path)
    assert next(lines) == (4, b"two\n")
    with path.open("ab") as file:
        file.write(b'{"half')
    assert list(lines) == [(0, b"one\n")]


def test_what_is_gone_has_no_lines_and_what_can_not_be_read_is_named(tmp_path: Path) -> None:
    assert list(lines_before(tmp_path / "none.jsonl")) == []
    assert days_of(tmp_path / "none") == []
    (tmp_path / "2026-11-25.jsonl").mkdir()
    with pytest.raises(TranscriptError, match=r"2026-11-25\.jsonl: can't be read \(Is a directory\)"):
        list(lines_before(tmp_path / "2026-11-25.jsonl"))
    (tmp_path / "2026-13-41.jsonl").touch()
    (tmp_path / "notes.txt").touch()
    assert [day for day, _ in days_of(tmp_path)] == [date(2026, 11, 25)]
    (tmp_path / "file").touch()
    with pytest.raises(TranscriptError, match="file: can't be read"):
        days_of(tmp_path / "file")
