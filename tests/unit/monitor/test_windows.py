"""Maintenance windows on clocks that are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.windows import Window, is_open, opens_next

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
"""Its clocks change by half an hour."""
EVERY_DAY = frozenset(range(7))


def window(start: str, end: str, zone: tzinfo = BERLIN, days: frozenset[int] = EVERY_DAY) -> Window:
    return Window(days=days, start=time.fromisoformat(start), end=time.fromisoformat(end), zone=zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def opened(w: Window, since: str, hours: int = 24) -> list[tuple[str, str]]:
    """Every opening from a moment on, minute by minute as the rail sees it."""
    found: list[tuple[str, str]] = []
    begin, at = None, utc(since)
    for _ in range(hours * 60 + 1):
        is_now = is_open((w,), at)
        if is_now and begin is None:
            begin = at
        if not is_now and begin is not None:
            found.append((f"{begin:%d %H:%M}", f"{at:%d %H:%M}"))
            begin = None
        at += timedelta(minutes=1)
    return found


def test_without_windows_a_change_may_be_made_at_any_time() -> None:
    assert is_open((), utc("2026-01-01T00:00"))
    assert opens_next((), utc("2026-01-01T00:00")) is None


def test_a_window_stands_on_the_zones_own_clock_in_winter_and_summer() -> None:
    assert opened(window("02:00", "05:00"), "2026-01-10T12:00") == [("11 01:00", "11 04:00")]
    assert opened(window("02:00", "05:00"), "2026-07-10T12:00") == [("11 00:00", "11 03:00")]
    assert opened(window("02:00", "05:00", NEW_YORK), "2026-07-10T12:00") == [("11 06:00", "11 09:00")]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("22:00", "04:00", [("28 21:00", "29 02:00")]),  # an hour is missing
        ("02:00", "04:00", [("29 01:00", "29 02:00")]),  # begins with the change
        ("02:30", "04:00", [("29 01:00", "29 02:00")]),  # 02:30 is never shown
        ("01:30", "02:30", [("29 00:30", "29 01:00")]),  # ends with the change
        ("02:15", "02:45", []),  # never shown
        ("03:00", "04:00", [("29 01:00", "29 02:00")]),
    ],
)
def test_the_night_in_which_clocks_go_forward(start: str, end: str, expected: list[tuple[str, str]]) -> None:
    assert opened(window(start, end), "2026-03-28T20:00", 12) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("22:00", "04:00", [("24 20:00", "25 03:00")]),  # an hour more
        ("02:15", "02:45", [("25 00:15", "25 00:45")]),  # shown twice, open once
        ("01:30", "02:30", [("24 23:30", "25 00:30")]),
        ("02:30", "03:30", [("25 00:30", "25 02:30")]),
        ("03:00", "04:00", [("25 02:00", "25 03:00")]),
    ],
)
def test_the_night_in_which_clocks_go_back(start: str, end: str, expected: list[tuple[str, str]]) -> None:
    assert opened(window(start, end), "2026-10-24T18:00", 14) == expected


def test_clocks_that_change_by_half_an_hour() -> None:
    forward = window("02:10", "03:00", LORD_HOWE)
    assert opened(forward, "2026-10-03T12:00", 8) == [("03 15:30", "03 16:00")], "02:00 to 02:30 is left out"


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    saturday = window("22:00", "04:00", UTC, frozenset({5}))
    assert opened(saturday, "2026-01-09T00:00", 72) == [("10 22:00", "11 04:00")]


def test_the_next_opening_is_told() -> None:
    weekend = window("02:00", "05:00", BERLIN, frozenset({5, 6}))
    assert opens_next((weekend,), utc("2026-01-05T00:00")) == utc("2026-01-10T01:00")
    daily = window("23:00", "23:30", UTC)
    assert opens_next((weekend, daily), utc("2026-01-05T00:00")) == utc("2026-01-05T23:00")


def test_a_weekly_window_that_a_clock_change_leaves_out_comes_a_week_later() -> None:
    sunday = window("02:15", "02:45", BERLIN, frozenset({6}))
    assert opens_next((sunday,), utc("2026-03-28T00:00")) == utc("2026-04-05T00:15")


@given(
    st.integers(0, 2 * 366 * 1440), st.integers(0, 1439), st.integers(0, 1439),
    st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, UTC, timezone(timedelta(hours=5, minutes=45))]),
)  # fmt: skip
def test_the_next_opening_is_open_and_the_moment_before_it_is_not_of_it(
    minutes: int, start: int, end: int, zone: tzinfo
) -> None:
    if start == end:
        return
    w = window(f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}", zone)
    at = utc("2025-01-01T00:00") + timedelta(minutes=minutes)
    following = opens_next((w,), at)
    assert following is not None
    assert at < following <= at + timedelta(days=3)
    assert is_open((w,), following)
    spans = list(w.spans(at))
    assert all(b <= c for (_, b), (c, _) in pairwise(spans)), "one after the other"
