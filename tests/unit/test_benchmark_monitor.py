"""The daemon's figures: what is read from a report, and what counts as reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.benchmarks.monitor import incident_figures, missed, rows
from tests.benchmarks.monitor_fleet import batches, lags

START = datetime(2026, 1, 1, tzinfo=UTC)


def report(*events: tuple[str, float]) -> dict[str, object]:
    return {"timeline": [{"state": s, "at": (START + timedelta(seconds=t)).isoformat()} for s, t in events]}


def test_an_incident_s_times_are_read_by_stage() -> None:
    found = incident_figures(report(
        ("DETECTED", 0), ("OPEN", 2), ("PATCHING", 2.5), ("STAGING", 10), ("VERIFYING", 12), ("PATCHING", 20),
        ("STAGING", 26), ("VERIFYING", 27), ("AWAITING_APPROVAL", 33), ("PROMOTING", 33), ("CONFIRMING", 34),
        ("RECOVERED", 50),
    ))  # fmt: skip
    assert found["breach_to_contained_seconds"] == 2.5
    assert found["breach_to_recovered_seconds"] == 50
    assert found["incident_stage_seconds"] == {
        "confirm": 2, "contain": 0.5, "patch": 13.5, "stage": 3, "verify": 14, "approve": 0, "promote": 1,
        "watch it live": 16,
    }  # fmt: skip


def test_what_never_happened_has_no_time() -> None:
    found = incident_figures(report(("DETECTED", 0), ("DISMISSED", 3)))
    assert found == {"incident_stage_seconds": {"confirm": 3}}
    assert {line.split(":")[0] for line in missed(found)} >= {"breach_to_contained_seconds", "kills_sqlite"}


@pytest.mark.parametrize(("milliseconds", "ok"), [(200.0, True), (200.1, False), (None, False)])
def test_a_figure_is_held_against_its_bar(milliseconds: float | None, *, ok: bool) -> None:
    ((_, _, _, reached),) = rows({"scrape_milliseconds": milliseconds}, ["scrape_milliseconds"])
    assert reached is ok


def test_lags_are_read_off_the_first_request_of_each_batch() -> None:
    times = [0.0, 0.1, 0.2, 60.0, 60.1, 121.5, 121.6, 180.2]
    assert batches(times, 60.0) == [0.0, 60.0, 121.5, 180.2]
    assert lags({"t": times}, 60.0) == [pytest.approx(1.5)]
