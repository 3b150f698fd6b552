"""Figures of the schedule: counts, and the worst lag of the last minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitor.timing import JobTiming, Timing

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "lag"), [(0, 9.0), (4, 9.0), (6, 9.0), (11, 0.0), (-60, 0.0)], ids=lambda v: f"{v}"
)
def test_the_worst_lag_is_kept_for_some_minutes_and_then_forgotten(minutes: float, lag: float) -> None:
    job = JobTiming()
    for late in (0.5, 9.0, 0.1):
        job.began(START, late)
    assert job.lag(START + timedelta(minutes=minutes)) == lag


def test_a_lag_in_the_second_half_of_the_window_stays_as_long() -> None:
    job = JobTiming()
    job.began(START, 1.0)
    job.began(START + timedelta(minutes=4), 3.0)
    assert job.lag(START + timedelta(minutes=6)) == 3.0
    job.began(START + timedelta(minutes=6), 2.0)
    assert job.lag(START + timedelta(minutes=11)) == 2.0


def test_it_says_all_it_counts_and_plans_nothing_by_itself() -> None:
    timing = Timing()
    timing.of("tick").began(START, 0.25)
    timing.of("tick").missed += 2
    timing.of("purge").failures += 1
    assert timing.next_run("tick-prod") is None
    said = timing.to_json(START)
    assert said["clock_jumps"] == 0
    assert said["jobs"]["tick"] == {
        "runs": 1, "missed": 2, "overruns": 0, "failures": 0, "lag_seconds": 0.25, "ran_at": START.isoformat(),
    }  # fmt: skip
    assert said["jobs"]["purge"] == {
        "runs": 0, "missed": 0, "overruns": 0, "failures": 1, "lag_seconds": 0.0, "ran_at": None,
    }  # fmt: skip
