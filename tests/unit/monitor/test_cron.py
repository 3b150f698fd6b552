from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.cron import check_cron, newest_due, next_times

BERLIN = ZoneInfo("Europe/Berlin")


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_moments_are_local_ones_winter_and_summer() -> None:
    found = next_times("0 6 1 * *", "Europe/Berlin", after=at(2026, 2, 15), count=3)
    assert found == (at(2026, 3, 1, 5), at(2026, 4, 1, 4), at(2026, 5, 1, 4))


def test_an_hour_that_is_left_out_still_has_its_audit_and_one_that_comes_twice_has_one() -> None:
    spring = next_times("30 2 * * *", "Europe/Berlin", after=at(2026, 3, 28, 12), count=2)
    assert [t.astimezone(BERLIN).date().isoformat() for t in spring] == ["2026-03-29", "2026-03-30"]
    autumn = next_times("30 2 * * *", "Europe/Berlin", after=at(2026, 10, 24, 12), count=2)
    assert [t.astimezone(BERLIN).date().isoformat() for t in autumn] == ["2026-10-25", "2026-10-26"]


@pytest.mark.parametrize(("field", "days"), [
    ("1-5", {0, 1, 2, 3, 4}), ("0", {6}), ("7", {6}), ("5-1", {4, 5, 6, 0}), ("mon,sat", {0, 5}), ("*/2", {6, 1, 3, 5}),
    ("*", set(range(7))), ("SUN", {6}),
])  # fmt: skip
def test_weekdays_are_counted_as_cron_does(field: str, days: set[int]) -> None:
    found = next_times(f"0 0 * * {field}", "UTC", after=at(2026, 1, 1), count=14)
    assert {t.weekday() for t in found} == days


@pytest.mark.parametrize(("expression", "zone", "message"), [
    ("0 6 1 *", "UTC", "minute, hour, day, month and weekday"), ("61 * * * *", "UTC", "cron '61"),
    ("0 6 1 * *", "Mars/Olympus", "no time zone 'Mars/Olympus'; write"), ("0 0 * * 8", "UTC", "0 and 7 are Sunday"),
    ("0 0 * * 1/0", "UTC", "a step is a number"), ("0 0 31 2 *", "UTC", "never comes true"),
    ("x * * * *", "UTC", "cron 'x"), ("*/30 * * * *", "UTC", "more often than once an hour"),
    ("0 6 1 * *", "../etc/passwd", "no time zone"),
])  # fmt: skip
def test_what_can_not_be_used_is_told(expression: str, zone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_cron(expression, zone)


def test_a_day_of_the_month_and_a_weekday_must_both_hold() -> None:
    found = next_times("0 6 1-7 * mon", "UTC", after=at(2026, 1, 1), count=3)
    assert found == (at(2026, 1, 5, 6), at(2026, 2, 2, 6), at(2026, 3, 2, 6)), "first Mondays"


def test_of_many_missed_moments_the_newest_is_due_once() -> None:
    due = newest_due("0 6 * * *", "UTC", since=at(2026, 1, 1, 7), now=at(2026, 1, 9, 6, 30))
    assert due == at(2026, 1, 9, 6)
    assert newest_due("0 6 * * *", "UTC", since=at(2026, 1, 9, 6), now=at(2026, 1, 10, 5, 59)) is None
    twice = newest_due("30 2 * * *", "Europe/Berlin", since=at(2026, 10, 25, 0, 30), now=at(2026, 10, 25, 23))
    assert twice is None, "the same hour once more"
    assert newest_due("0 6 * * *", "UTC", since=at(1990, 1, 1), now=at(2026, 1, 1)) == at(2025, 12, 31, 6)


def test_the_day_after_a_change_has_its_midnight_and_a_moment_left_out_is_not_lost() -> None:
    found = next_times("0 0 * * *", "America/New_York", after=at(2024, 3, 10, 6), count=2)
    assert found == (at(2024, 3, 11, 4), at(2024, 3, 12, 4))
    (left_out,) = next_times("30 2 * * *", "America/New_York", after=at(2024, 3, 10, 7, 10), count=1)
    assert left_out == at(2024, 3, 10, 7, 30)


@example(0, 0, 67)
@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 3000))
def test_each_day_has_its_moment_whatever_the_clocks_do(hour: int, minute: int, day: int) -> None:
    start = at(2024, 1, 1) + timedelta(days=day)
    found = next_times(f"{minute} {hour} * * *", "America/New_York", after=start, count=4)
    days = [t.astimezone(ZoneInfo("America/New_York")).date() for t in found]
    assert all(b - a == timedelta(days=1) for a, b in pairwise(days))
