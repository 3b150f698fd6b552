"""Moments by the calendar: cron expressions in a time zone, by APScheduler's trigger, imported where it is used.

A moment that a change to summer time leaves out comes as the clocks are set; one that a change back brings twice comes
once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["check_cron", "newest_due", "next_times", "zone_of"]

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FAR = timedelta(days=400)
"""What is missed for longer is as much as missed once."""
_FIELDS = 5
_SHIFT = timedelta(hours=3)
"""More than clocks are ever set by: a moment that a change leaves out may still be to come."""
_APART = timedelta(hours=1)


def check_cron(expression: str, zone: str) -> None:
    """Look whether an expression and a time zone can be used.

    Raises:
        ValueError: They can't, or the expression never comes true, or more often than hourly.
    """
    coming = next_times(expression, zone, after=datetime.now(UTC), count=3)
    if any(b - a < _APART for a, b in pairwise(coming)):
        raise ValueError(f"cron {expression!r} comes more often than once an hour; leave time for something else")
    if not coming:
        raise ValueError(f"cron {expression!r} never comes true; an expression is e.g. '0 6 1 * *', the first at 6:00")


def next_times(expression: str, zone: str, *, after: datetime, count: int) -> tuple[datetime, ...]:
    """Return the next moments after one, in UTC.

    Raises:
        ValueError: Expression or time zone can't be used; the message says what is wrong.
    """
    trigger, where = _trigger(expression, zone)
    found: list[datetime] = []
    last, local = after, after.astimezone(where).replace(tzinfo=UTC) - _SHIFT
    while len(found) < count:
        fire = trigger.get_next_fire_time(None, local + timedelta(microseconds=1))
        if fire is None:
            break
        local = fire
        at = fire.replace(tzinfo=where).astimezone(UTC)
        if at > last:
            found.append(at)
            last = at
    return tuple(found)


def newest_due(expression: str, zone: str, *, since: datetime, now: datetime) -> datetime | None:
    """Return the newest moment after ``since`` that has come; nothing where none has."""
    found = None
    at = max(since, now - _FAR)
    while (following := next_times(expression, zone, after=at, count=1)) and following[0] <= now:
        found = at = following[0]
    return found


def zone_of(name: str) -> tzinfo:
    """Return a time zone.

    Raises:
        ValueError: There is none of this name.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {name!r}; write an IANA name such as Europe/Berlin, or UTC") from error


@lru_cache(maxsize=64)
def _trigger(expression: str, zone: str) -> tuple[Any, tzinfo]:
    """Return a trigger on the wall's time as if it were UTC: in a zone it leaves out the day after a change."""
    from apscheduler.triggers.cron import CronTrigger

    fields = expression.split()
    if len(fields) != _FIELDS:
        raise ValueError(
            f"cron {expression!r}: write minute, hour, day, month and weekday, e.g. '0 6 1 * *', the first at 6:00"
        )
    where = zone_of(zone)
    minute, hour, day, month, weekday = fields
    try:
        made = CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=_weekdays(weekday), timezone=UTC)
    except (ValueError, TypeError) as error:
        raise ValueError(f"cron {expression!r}: {error}") from error
    return made, where


def _weekdays(field: str) -> str:
    """Write weekdays by name: cron counts them from Sunday, APScheduler from Monday."""
    days: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        if span == "*" and not step:
            return "*"
        first, _, last = span.partition("-")
        low, high = (0, 6) if span == "*" else (_day(first), _day(last) if last else _day(first))
        if high < low:
            high += 7
        if not (step or "1").isdecimal() or not int(step or 1):
            raise ValueError(f"weekday {part!r}: a step is a number above 0")
        days |= {d % 7 for d in range(low, high + 1, int(step or 1))}
    return ",".join(_DAYS[d] for d in sorted(days))


def _day(word: str) -> int:
    if word in _DAYS:
        return _DAYS.index(word)
    if word.isdecimal() and int(word) <= 7:
        return int(word)
    raise ValueError(f"weekday {word!r}: write 0 to 7 (0 and 7 are Sunday) or {', '.join(_DAYS)}")
