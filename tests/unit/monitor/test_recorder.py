"""What can't be kept is counted and told, and stops nothing."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.recorder import Recorder
from probes.transcripts.record import Keep
from probes.transcripts.store import TranscriptReader, TranscriptStore
from tests.unit.probes.transcripts.sweeps import NOW, RING, result, swept


def store(folder: Path) -> TranscriptStore:
    return TranscriptStore(folder, keep=Keep.HASHES, ring=RING, days=2)


async def test_without_a_store_nothing_is_kept() -> None:
    recorder = Recorder()
    await recorder.record(swept(result()), release="r")
    await recorder.purge(NOW)
    assert (recorder.failed, recorder.why) == (0, "")


async def test_failures_are_counted_by_probe_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "transcripts"
    folder.touch()
    recorder = Recorder(store=store(folder))
    with caplog.at_level(logging.INFO, logger="alignd"):
        await recorder.record(swept(result(0), result(1)), release="r")
        await recorder.purge(NOW)
    assert recorder.failed == 2
    assert "mend the folder's rights" in recorder.why
    assert [r.message for r in caplog.records] == ["transcripts_failed", "transcripts_not_purged"]
    assert (caplog.records[0].__dict__["target"], caplog.records[0].__dict__["sweep"]) == ("prod", "routine-1")
    folder.unlink()
    await recorder.record(swept(result()), release="r")
    assert (recorder.failed, recorder.why) == (2, "")
    assert [t.release for t in TranscriptReader(folder).transcripts()] == ["r"]


async def test_what_is_out_of_time_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(store=store(tmp_path))
    await recorder.record(swept(result(), at=NOW - timedelta(days=3)), release="r")
    with caplog.at_level(logging.INFO, logger="alignd"):
        await recorder.purge(NOW)
        await recorder.purge(NOW)
    assert [(r.message, r.__dict__["files"]) for r in caplog.records] == [("transcripts_purged", ["2026-11-22.jsonl"])]
    assert not list(tmp_path.iterdir())
