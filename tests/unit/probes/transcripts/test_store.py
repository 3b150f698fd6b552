"""Transcripts on disk: rights, crashes, full disks, retention, keys that were changed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from probes.errors import TranscriptError
from probes.transcripts import store as module
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep, Transcript, words_of
from probes.transcripts.store import TranscriptReader, TranscriptStore
from tests.unit.probes.transcripts.sweeps import NOW, OTHER, RING, SECRET, result, swept

ROOT = Path(__file__).resolve().parents[4]
DAY = "2026-11-25.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "transcripts"


def store(folder: Path, *, keep: Keep = Keep.ENCRYPTED, ring: Keyring = RING, days: int = 30) -> TranscriptStore:
    return TranscriptStore(folder, keep=keep, ring=ring, days=days)


def read(folder: Path, **choice: object) -> list[Transcript]:
    return list(TranscriptReader(folder).transcripts(**choice))  # type: ignore[arg-type]


def damaged(folder: Path) -> int:
    reader = TranscriptReader(folder)
    list(reader.transcripts())
    return reader.damaged


def test_what_was_recorded_is_read_newest_first(folder: Path) -> None:
    writer = store(folder)
    for hours in (0, 1, 24):
        at, name = NOW + timedelta(hours=hours), f"routine-{hours}"
        found = [result(i, prompt=f"p{hours}{i}", sweep=name) for i in range(3)]
        assert writer.record(swept(*found, at=at, sweep=name), release="r") == 3
    assert sorted(p.name for p in folder.iterdir()) == [DAY, "2026-11-26.jsonl"]
    probes = [t.probe for t in read(folder)]
    assert probes == [f"routine-{h}/000{i}" for h in (24, 1, 0) for i in (2, 1, 0)]
    assert [t.probe for t in read(folder, since=date(2026, 11, 26))] == probes[:3]
    assert [t.probe for t in read(folder, about="routine-1")] == probes[3:6]
    (one,) = read(folder, about="routine-1/0002")
    words = words_of(one, RING)
    assert words
    assert (words.messages[-1].content, words.answer) == ("p12", "answer")


def test_an_id_may_hold_anything(folder: Path) -> None:
    for name in ('odd"\\é', "routine-1"):
        store(folder).record(swept(result(sweep=name), sweep=name), release="")
    assert [t.sweep for t in read(folder, about='odd"\\é')] == ['odd"\\é']


def test_only_the_owner_can_read(folder: Path) -> None:
    before = os.umask(0)
    try:
        store(folder).record(swept(result()), release="")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / DAY).stat().st_mode & 0o777 == 0o600
        (folder / DAY).chmod(0o644)
        store(folder).record(swept(result()), release="")
        assert (folder / DAY).stat().st_mode & 0o777 == 0o600, "a file that was opened up is closed again"
    finally:
        os.umask(before)


def test_a_link_in_the_file_s_place_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / DAY).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TranscriptError, match="can't be written"):
        store(folder).record(swept(result()), release="")
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_kept_where_nothing_is_to_be(folder: Path) -> None:
    assert store(folder, keep=Keep.NOTHING).record(swept(result()), release="") == 0
    assert store(folder).record(swept(), release="") == 0
    assert not folder.exists()
    assert read(folder) == []


def test_no_text_is_on_disk(folder: Path) -> None:
    for keep in (Keep.HASHES, Keep.ENCRYPTED):
        store(folder, keep=keep).record(swept(result(prompt="the prompt", answer="the answer")), release="")
    content = (folder / DAY).read_bytes()
    assert not any(text in content for text in (b"the prompt", b"the answer", b"be kind", SECRET))


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_line_that_a_crash_cut_short_is_passed_over_and_ended(folder: Path, cut: int) -> None:
    writer = store(folder)
    writer.record(swept(result(0), result(1)), release="")
    os.truncate(folder / DAY, (folder / DAY).stat().st_size - cut)
    writer.record(swept(result(2)), release="")
    writer.record(swept(result(3)), release="")
    left = [t.probe[-1] for t in read(folder)]
    if cut == 1:
        assert (left, damaged(folder)) == (["3", "2", "1", "0"], 0), "only the line's end was lost"
    else:
        assert (left, damaged(folder)) == (["3", "2", "0"], 1)


WRITE = """
import sys
from pathlib import Path
from tests.unit.probes.transcripts.test_store import store
from tests.unit.probes.transcripts.sweeps import result, swept
made = store(Path(sys.argv[1]))
many = swept(*(result(i, answer="a" * 50_000) for i in range(100)))
print("begins", flush=True)
while True:
    made.record(many, release="r")
"""


def test_a_writer_that_is_killed_leaves_whole_lines(folder: Path) -> None:
    for wait in (0.0, 0.02, 0.05):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout
        assert writer.stdout.readline() == "begins\n"
        end = time.monotonic() + 30
        while not list(folder.glob("*")) and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        store(folder).record(swept(result(7, answer="after the crash"), sweep="next"), release="")
    reader = TranscriptReader(folder)
    found = list(reader.transcripts())
    assert reader.damaged <= 3
    for last in [t for t in found if t.sweep == "next"]:
        words = words_of(last, RING)
        assert words
        assert words.answer == "after the crash"
    assert sum(t.sweep == "next" for t in found) == 3


FULL = """
import resource, sys
from pathlib import Path
from probes.errors import TranscriptError
from tests.unit.probes.transcripts.test_store import store
from tests.unit.probes.transcripts.sweeps import result, swept
made, folder = store(Path(sys.argv[1])), Path(sys.argv[1])
made.record(swept(result(0)), release="")
size = next(folder.iterdir()).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
try:
    made.record(swept(*(result(i) for i in range(1, 9))), release="")
except TranscriptError as error:
    print(error)
assert next(folder.iterdir()).stat().st_size == size, "nothing of the sweep is left"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
made.record(swept(result(9)), release="")
"""


def test_a_full_disk_is_said_and_leaves_no_half_line(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{folder}/{DAY}: can't be written (File too large); free disk" in done.stdout
    assert [t.probe[-1] for t in read(folder)] == ["9", "0"]
    assert damaged(folder) == 0


def test_what_can_not_be_taken_back_is_ended_by_the_next_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk that has no room and then an error of its own."""
    write, calls = os.write, iter([100])

    def short(file: int, data: bytes) -> int:
        if n := next(calls, None):
            return write(file, data[:n])
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", short)
        patch.setattr(module.os, "ftruncate", broken)
        with pytest.raises(TranscriptError, match="No space left"):
            store(folder).record(swept(result(0)), release="")
    store(folder).record(swept(result(1)), release="")
    assert [t.probe[-1] for t in read(folder)] == ["1"]
    assert damaged(folder) == 1


def test_a_folder_that_can_not_be_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TranscriptError, match="mend the folder's rights"):
        store(tmp_path / "file" / "transcripts").record(swept(result()), release="")
    with pytest.raises(TranscriptError, match="can't be read"):
        read(tmp_path / "file")


def test_writers_do_not_get_into_each_other_s_lines(folder: Path) -> None:
    def write(name: str) -> None:
        for _ in range(10):
            store(folder, keep=Keep.HASHES).record(
                swept(*(result(i, sweep=name) for i in range(20)), sweep=name), release=""
            )

    threads = [threading.Thread(target=write, args=[f"s{i}"]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(folder)
    assert (len(found), damaged(folder)) == (800, 0)
    assert all(len({t.sweep for t in found[i : i + 20]}) == 1 for i in range(0, 800, 20)), "sweeps stay together"


def test_whole_days_are_removed_when_they_are_out_of_time(folder: Path) -> None:
    writer = store(folder, days=2)
    for days in range(5):
        writer.record(swept(result(), at=NOW - timedelta(days=days)), release="")
    (folder / "notes.txt").touch()
    (folder / "2026-99-99.jsonl").touch()
    assert writer.purge(NOW) == ("2026-11-21.jsonl", "2026-11-22.jsonl")
    assert writer.purge(NOW) == ()
    assert min(t.at for t in read(folder)) == NOW - timedelta(days=2), "what is exactly two days old is kept"
    assert writer.purge(NOW, before=date(2026, 11, 25)) == ("2026-11-23.jsonl", "2026-11-24.jsonl")
    assert sorted(p.name for p in folder.iterdir()) == [DAY, "2026-99-99.jsonl", "notes.txt"]


def test_days_are_those_of_utc(folder: Path) -> None:
    late = datetime.fromisoformat("2026-11-25T20:00:00-08:00")
    store(folder).record(swept(result(), at=late), release="")
    assert [p.name for p in folder.iterdir()] == ["2026-11-26.jsonl"]
    (one,) = read(folder)
    assert one.at.tzinfo is UTC
    assert words_of(one, RING)


def test_a_file_that_can_not_be_removed_keeps_no_other_one(folder: Path) -> None:
    writer = store(folder)
    writer.record(swept(result(), at=NOW - timedelta(days=50)), release="")
    (folder / "2026-01-01.jsonl").mkdir()
    with pytest.raises(TranscriptError, match=r"2026-01-01\.jsonl: can't be removed"):
        writer.purge(NOW)
    assert [p.name for p in folder.iterdir()] == ["2026-01-01.jsonl"]


def test_keys_can_be_changed(folder: Path) -> None:
    store(folder).record(swept(result(0)), release="")
    rotated = Keyring([OTHER, SECRET])
    store(folder, ring=rotated).record(swept(result(1)), release="")
    found = read(folder)
    assert [t.key for t in found] == [rotated.id, RING.id]
    assert all(words_of(t, rotated) for t in found)
    assert RING.hash("prompt") == found[1].prompt[-1][1] != found[0].prompt[-1][1]
