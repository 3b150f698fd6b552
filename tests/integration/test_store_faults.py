"""A SQLite store that another process keeps locked, whose disk is full, or whose file is damaged."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.audit import AuditEntry, verify
from monitor.errors import StoreError, StoreUnavailable
from monitor.guard import Guard
from monitor.schedule import Rounds
from monitor.stores.sql import SqlStore
from tests.fake_site import World
from tests.unit.monitor.command_line import Alignd, called_in

ENTRY = AuditEntry(at=datetime(2026, 1, 1, tzinfo=UTC), actor="ann", action="wrote", subject="t")
FILLS = """
import resource, sys
from datetime import UTC, datetime
from monitor.audit import AuditEntry
from monitor.errors import StoreUnavailable
from monitor.stores.sql import SqlStore

store = SqlStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
kept = 0
try:
    while True:
        store.append_audit(AuditEntry(at=datetime.now(UTC), actor="ann", action="wrote", subject=str(kept),
                                      details={"much": "x" * 5000}))
        kept += 1
except StoreUnavailable as error:
    before = str(error)
    count = len(list(store.audit_chain()))
try:
    store.try_writing()
except StoreUnavailable:
    refused = True
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.try_writing()
assert refused and store.writable
store.append_audit(AuditEntry(at=datetime.now(UTC), actor="ann", action="wrote", subject="after"))
store.close()
print(kept, count, before, sep="\\n")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the write lock, as a backup tool or a forgotten shell does."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_store_is_read_and_named_and_written_afterwards(
    file: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.stores.sqlite._WAIT_SECONDS", 1)
    with closing(SqlStore(url)) as store:
        store.append_audit(ENTRY)
        with locked(file):
            with pytest.raises(StoreUnavailable, match=r"s\.db: another process kept it locked for 1 s"):
                store.append_audit(ENTRY)
            assert len(list(store.audit_chain())) == 1
        store.append_audit(ENTRY)
        assert verify(store.audit_chain()).entries == 2


def test_a_daemon_whose_store_is_locked_is_not_held_up_by_each_change(
    file: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.stores.sqlite._WAIT_SECONDS", 1)
    with closing(SqlStore(url, hold=True)) as store:
        store.append_audit(ENTRY)
        assert store.writable
        with locked(file):
            with pytest.raises(StoreUnavailable, match="kept it locked"):
                store.append_audit(ENTRY)
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="kept it locked"):
                store.append_audit(ENTRY)
            assert time.monotonic() - began < 0.9
            assert not store.writable
            entries = len(list(store.audit_chain()))
        monkeypatch.setattr(store._db, "_refused", (0.0, ""))
        store.append_audit(ENTRY)
        assert store.writable
        assert len(list(store.audit_chain())) == entries + 1


async def test_a_daemon_finds_out_that_its_store_is_written_again_though_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("monitor.stores.sqlite._WAIT_SECONDS", 0)
    service = World(folder=tmp_path).service()
    await service.prepare()
    guard = Guard(asyncio.Event())
    rounds = Rounds(service, guard)
    with locked(tmp_path / "s.db"):
        with pytest.raises(StoreUnavailable):
            service.store.append_audit(ENTRY)
        assert not await guard("try_store", "store", rounds.try_store("store"))
        assert not service.store.writable
    before = list(service.store.audit_chain())
    assert await guard("try_store", "store", rounds.try_store("store"))
    assert service.store.writable
    assert list(service.store.audit_chain()) == before
    assert "store_back" in caplog.messages
    await service.aclose()


def test_a_command_on_a_locked_store_says_so_and_ends_with_4(
    file: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("monitor.stores.sqlite._WAIT_SECONDS", 0)
    monkeypatch.setenv("ALIGND_STORE__URL", url)
    alignd: Alignd = called_in(file.parent, monkeypatch, capsys)
    assert alignd("init", "--checkpoint", "/x", "--model", "m")[0] == 0
    assert alignd("pause", "prod")[0] == 0
    with locked(file):
        code, _, err = alignd("resume", "prod")
    assert (code, "kept it locked" in err, "Traceback" in err) == (4, True, False)


def test_on_a_full_disk_nothing_is_lost_and_all_goes_on_when_there_is_room(url: str, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILLS, url], check=True, capture_output=True, text=True, cwd=root, timeout=120
    )  # fmt: skip
    kept, count, said = done.stdout.splitlines()
    assert int(kept) > 5
    assert kept == count, "what was acknowledged is there, and no half of what was refused"
    assert "can't be written" in said
    assert "is the disk full?" in said
    with closing(SqlStore(url)) as store:
        verdict = verify(store.audit_chain())
    assert (verdict.why, verdict.entries) == ("", int(kept) + 1)


@pytest.mark.parametrize("damage", ["middle", "half", "head"])
def test_a_damaged_store_is_named_with_the_way_out(file: Path, url: str, damage: str) -> None:
    with closing(SqlStore(url)) as store:
        for _ in range(40):
            store.append_audit(ENTRY)
    content = bytearray(file.read_bytes())
    if damage == "half":
        del content[len(content) // 2 :]
    else:
        begin = 4096 if damage == "middle" else 0
        content[begin : begin + 4096 * 30] = b"\xff" * min(4096 * 30, len(content) - begin)
    file.write_bytes(content)

    def use() -> None:
        with closing(SqlStore(url, hold=True)) as store:
            assert verify(store.audit_chain()).intact
            store.append_audit(ENTRY)

    with pytest.raises(StoreError, match=r"s\.db is damaged or no alignd database; put a copy back or move it away"):
        use()
