"""Days and times of options."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitor.commands.moments import moment_of
from monitor.errors import ConfigError


@pytest.mark.parametrize("text", ["2026-01-31T11:00", "2026-01-31T11:00Z", "2026-01-31T12:00+01:00"])
def test_a_time_is_utc_where_it_names_no_offset(text: str) -> None:
    found = moment_of(text, "--since")
    assert (found, found.utcoffset()) == (datetime(2026, 1, 31, 11, tzinfo=UTC), UTC.utcoffset(None))


def test_a_day_is_its_first_moment() -> None:
    assert moment_of("2026-01-31", "--since") == datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31", "1899-12-31", "0001-01-01"]
)
def test_what_lies_too_far_away_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--from \d{4}-.*: must lie in the years 1900 to 9998"):
        moment_of(text, "--from")


def test_what_is_neither_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"--before soon: give a day or a time, e\.g\. 2026-01-31 or"):
        moment_of("soon", "--before")
