"""Pages of transcripts: nothing twice, nothing left out, and never more work than was allowed."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.judge import Verdict
from probes.transcripts.page import Page, Place, Wanted, read_page
from probes.transcripts.record import Keep
from probes.transcripts.store import TranscriptStore
from tests.unit.probes.transcripts.sweeps import NOW, RING, result, swept


def write(folder: Path, name: str, *, at: datetime = NOW, n: int = 3, target: str = "prod") -> None:
    store = TranscriptStore(folder, keep=Keep.HASHES, ring=RING, days=30)
    verdicts = (Verdict.HARMFUL, Verdict.SAFE)
    found = [result(i, sweep=name, verdict=verdicts[i % 2]) for i in range(n)]
    store.record(swept(*found, at=at, sweep=name, target=target), release="r")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three days of two targets."""
    for hours in (0, 1, 24, 48):
        write(tmp_path, f"routine-{hours}", at=NOW + timedelta(hours=hours))
        write(tmp_path, f"other-{hours}", at=NOW + timedelta(hours=hours), target="stage")
    return tmp_path


def probes(page: Page) -> list[str]:
    return [t.probe for t in page.transcripts]


def turned(folder: Path, wanted: Wanted, *, most: int, bytes_max: int = 1 << 20) -> list[str]:
    """Read all pages; no page but the last is without a following one."""
    found, before = [], None
    while True:
        page = read_page(folder, wanted, most=most, before=before, bytes_max=bytes_max)
        found += probes(page)
        assert len(page.transcripts) <= most
        if page.following is None:
            return found
        assert before is None or (page.following.day, page.following.end) < (before.day, before.end)
        before = Place.of(str(page.following))


ALL = [f"routine-{h}/000{i}" for h in (48, 24, 1, 0) for i in (2, 1, 0)]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(most=st.integers(1, 13), bytes_max=st.integers(1, 5000))
def test_pages_together_are_the_whole(folder: Path, most: int, bytes_max: int) -> None:
    assert turned(folder, Wanted(named={"target": "prod"}), most=most, bytes_max=bytes_max) == ALL


def test_what_is_written_meanwhile_moves_no_page(folder: Path) -> None:
    first = read_page(folder, Wanted(named={"target": "prod"}), most=4)
    write(folder, "routine-late", at=NOW + timedelta(hours=48))
    rest = read_page(folder, Wanted(named={"target": "prod"}), most=50, before=first.following)
    assert probes(first) + probes(rest) == ALL


def test_the_last_page_says_that_it_is(folder: Path) -> None:
    page = read_page(folder, Wanted(named={"target": "prod"}), most=12)
    assert (probes(page), page.following, page.oldest) == (ALL, None, date(2026, 11, 25))


def test_a_page_stops_where_it_was_to_look_no_further(folder: Path) -> None:
    page = read_page(folder, Wanted(named={"target": "none"}), most=12, bytes_max=1000)
    assert probes(page) == []
    assert page.following is not None
    assert page.following.day == date(2026, 11, 27)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(named={"target": "prod", "verdict": "harmful", "sweep": "routine-1"}), [ALL[6], ALL[8]]),
        (Wanted(named={"target": "prod"}, since=NOW + timedelta(hours=24)), ALL[:6]),
        (Wanted(named={"target": "prod"}, until=NOW + timedelta(hours=1)), ALL[6:]),
        (Wanted(named={"target": "prod"}, since=NOW + timedelta(minutes=1), until=NOW + timedelta(hours=2)), ALL[6:9]),
        (Wanted(named={"target": "prod"}, fits=lambda t: t.probe.endswith("2")), ALL[::3]),
        (Wanted(named={"target": 'pr"od'}), []),
        (Wanted(named={"target": "prod"}, begins={"sweep": "routine-2"}), ALL[3:6]),
        (Wanted(named={"target": "prod"}, begins={"sweep": "outine-"}), []),
        (Wanted(begins={"sweep": 'routine-"'}), []),
        (Wanted(named={"target": "prod"}, since=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))), ALL),
        (Wanted(named={"target": "prod"}, since=datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=9)))), []),
    ],
)
def test_only_what_is_wanted_is_found(folder: Path, wanted: Wanted, found: list[str]) -> None:
    assert turned(folder, wanted, most=2) == found


def test_damaged_lines_are_counted_and_days_that_are_gone_have_none(folder: Path) -> None:
    with (folder / "2026-11-27.jsonl").open("ab") as file:
        file.write(b'{"target":"prod", torn\n')
    (folder / "2026-11-25.jsonl").unlink()
    page = read_page(folder, Wanted(), most=50)
    assert (page.damaged, len(page.transcripts), page.oldest) == (1, 12, date(2026, 11, 26))
    place = Place(day=date(2026, 11, 25), end=10_000)
    assert read_page(folder, Wanted(), most=50, before=place).transcripts == ()


def test_no_folder_is_an_empty_page(tmp_path: Path) -> None:
    page = read_page(tmp_path / "none", Wanted(), most=1)
    assert (page.transcripts, page.following, page.oldest, page.damaged) == ((), None, None, 0)


@pytest.mark.parametrize("text", ["", "739945", "739945.-1", "2026-11-25.1", "739945.1\n", "../x.1", "\u066739945.1"])
def test_a_place_is_a_day_and_a_byte(text: str) -> None:
    with pytest.raises(ValueError, match="not a day"):
        Place.of(text)
