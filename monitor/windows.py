"""Maintenance windows: weekly times on a zone's own clock in which a target may be changed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

__all__ = ["WEEKDAYS", "Window", "is_open", "opens_next"]

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_AHEAD = 15
"""Days to look ahead: a weekly window that a clock change leaves out is there a week later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A weekly window. It opens once on each of its days, however the clocks are put.

    In the night in which clocks go forward, a time that they leave out is the moment of the change; in the one in which
    they go back, a time that they show twice is the first of the two.

    Attributes:
        days: Weekdays on which it opens, 0 for Monday.
        start: When it opens, on the zone's clock.
        end: When it closes; at or before ``start``, on the next day.
    """

    days: frozenset[int]
    start: time
    end: time
    zone: tzinfo

    def spans(self, around: datetime, days: int = _AHEAD) -> Iterator[tuple[datetime, datetime]]:
        """Give the openings from the day before a moment on, in UTC and in order; one without a length is none."""
        today = around.astimezone(self.zone).date()
        for day in (today + i * _DAY for i in range(-1, days)):
            if day.weekday() not in self.days:
                continue
            opens = _moment(day, self.start, self.zone)
            closes = _moment(day + _DAY if self.end <= self.start else day, self.end, self.zone)
            if opens < closes:
                yield opens, closes


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Whether a change may be made now: in a window, or where there are none."""
    return not windows or any(opens <= now < closes for w in windows for opens, closes in w.spans(now, 1))


def opens_next(windows: Sequence[Window], now: datetime) -> datetime | None:
    """Return when the next window opens after now, in UTC."""
    return min((opens for w in windows for opens, _ in w.spans(now) if opens > now), default=None)


def _moment(day: date, wall: time, zone: tzinfo) -> datetime:
    """Return the moment in which a zone's clock shows a time; the change of clocks where it leaves that out."""
    shown = datetime.combine(day, wall, tzinfo=zone)
    later = shown.astimezone(UTC)
    if later.astimezone(zone).replace(tzinfo=None) == shown.replace(tzinfo=None):
        return later
    earlier = shown.replace(fold=1).astimezone(UTC)
    before = earlier.astimezone(zone).utcoffset()
    while later - earlier > _SECOND:  # clocks change between the two
        middle = earlier + (later - earlier) // 2
        earlier, later = (middle, later) if middle.astimezone(zone).utcoffset() == before else (earlier, middle)
    return later.replace(microsecond=0)
