"""Files and folders that are whole or not there, and the waste that a killed process leaves."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import durable
from deploy.durable import clear_scratch, held, new_folder, remove_folder, write_whole
from deploy.errors import CheckpointError, StoreInUse


def test_a_file_is_replaced_whole_and_may_be_its_owners_only(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_whole(file, "one")
    write_whole(file, "two", private=True)
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_file_that_can_not_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write_whole(file, "one")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "two")
    assert file.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "x").read_text() == "1"
    with pytest.raises(KeyError), new_folder(tmp_path / "b") as folder:
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_scratch_that_a_process_holds_stays_and_that_of_a_dead_one_goes(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("1")
        assert clear_scratch(tmp_path) == ()
        assert folder.exists()
    script = (
        "import os, signal, sys; from pathlib import Path; from deploy.durable import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'x').write_text('1'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "b")], check=False)
    (tmp_path / ".f.0.partial").write_text("half")
    (tmp_path / ".link.0.partial").symlink_to(tmp_path / "a")
    assert len(clear_scratch(tmp_path)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [".link.0.partial", "a"]


def test_a_place_without_locks_keeps_its_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".a.0.partial").mkdir()

    def none(_: int, __: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(durable.fcntl, "flock", none)
    assert clear_scratch(tmp_path) == ()
    assert (tmp_path / ".a.0.partial").exists()


def test_scratch_that_was_cleared_before_it_was_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, seen = durable.fcntl.flock, []

    def slow(fd: int, operation: int) -> None:
        if not seen:
            seen.extend(tmp_path.glob(".a.*"))
            seen[0].rmdir()
        lock(fd, operation)

    monkeypatch.setattr(durable.fcntl, "flock", slow)
    with new_folder(tmp_path / "a") as folder:
        assert folder != seen[0]
    assert (tmp_path / "a").is_dir()


def test_a_removed_folder_vanishes_whole(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="link"):
        remove_folder(tmp_path / "link")


def test_a_lock_is_held_by_many_or_by_one(tmp_path: Path) -> None:
    shared = held(tmp_path, alone=False, what="x"), held(tmp_path, alone=False, what="x")
    with shared[0], shared[1], pytest.raises(StoreInUse, match="x is in use"), held(tmp_path, alone=True, what="x"):
        pass
    with held(tmp_path, alone=True, what="x"), pytest.raises(StoreInUse), held(tmp_path, alone=False, what="x"):
        pass
    with pytest.raises(CheckpointError, match="can't be opened"), held(tmp_path / "none", alone=True, what="x"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        with pytest.raises(CheckpointError, match="No space left"), new_folder(disk / "a") as folder:
            (folder / "x").write_bytes(b"1" * (1 << 20))
        write_whole(disk / "f", "one")
        with pytest.raises(OSError, match="No space left"):
            write_whole(disk / "f", "2" * (1 << 20))
        assert [p.name for p in disk.iterdir()] == ["f"]
        assert (disk / "f").read_text() == "one"
    finally:
        subprocess.run(["umount", str(disk)], check=True)
