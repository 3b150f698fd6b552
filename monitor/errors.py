"""Errors of the monitor package.

MonitorError
├── ConfigError            the settings can't be used: names the key, what is wrong and what is allowed
├── PluginError            a plugin that the settings name is not installed, or refuses its options
├── AuditNotWritten        an audit was measured and could not be laid out; it goes on when it is run again
├── NotMeasured            too few usable answers to say anything (retryable)
│   └── JudgeUnavailable   the judge gave no verdict at all
├── NotSent                a notification did not get there (retryable, after a delay where the other side names one)
│   └── NotificationRefused  the other side will never take this one
└── StoreError
    ├── StoreBusy          another daemon runs on this store
    ├── StoreLost          another daemon took over; this one writes nothing more
    ├── StoreUnavailable   locked, full or away: may pass (retryable)
    ├── StoreVersion       written by another version, or by another program
    ├── StaleSeries        somebody else added to the series first: read it again
    ├── StaleIncident      somebody saved the incident first: load it again
    ├── OpenIncident       the target has an open incident already
    ├── LogFault           a record of an append-only log is gone, there twice, or of another epoch
    └── UnknownIncident    there is no such incident
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AuditNotWritten",
    "ConfigError",
    "JudgeUnavailable",
    "LogFault",
    "MonitorError",
    "NotMeasured",
    "NotSent",
    "NotificationRefused",
    "OpenIncident",
    "PluginError",
    "StaleIncident",
    "StaleSeries",
    "StoreBusy",
    "StoreError",
    "StoreLost",
    "StoreUnavailable",
    "StoreVersion",
    "UnknownIncident",
    "unknown_target",
]


class MonitorError(Exception):
    """Root of the tree; never raised itself."""


class ConfigError(MonitorError):
    """The settings can't be used."""


def unknown_target(name: str, known: Iterable[str]) -> ConfigError:
    """Make the error of a name that no target has; it says which there are."""
    return ConfigError(f"no target {name!r}; there are: {', '.join(known)}")


class PluginError(MonitorError):
    """A plugin is not there or refuses its options."""


class AuditNotWritten(MonitorError):
    """An audit could not be laid out; what was measured is kept."""


class NotMeasured(MonitorError):
    """Too few usable answers; may pass when asked again."""


class JudgeUnavailable(NotMeasured):
    """The judge gave no verdict at all."""


class NotSent(MonitorError):
    """A notification did not get there.

    Attributes:
        delay_seconds: How long the other side asks to be left alone; ``None`` where it does not say.
    """

    def __init__(self, message: str, *, delay_seconds: float | None = None) -> None:
        """Take what went wrong."""
        super().__init__(message)
        self.delay_seconds = delay_seconds


class NotificationRefused(NotSent):
    """The other side will never take this one."""


class StoreError(MonitorError):
    """The store can't do what was asked."""


class StoreBusy(StoreError):
    """Another daemon runs on this store."""


class StoreLost(StoreError):
    """Another daemon took the store over: this one may write nothing more."""


class StoreUnavailable(StoreError):
    """The store is locked, its disk is full, or it is away; may pass."""


class StoreVersion(StoreError):
    """The store was written by another version of the program, or by another program."""


class StaleSeries(StoreError):
    """Somebody else added to the series in between."""


class StaleIncident(StoreError):
    """The incident was saved by somebody else in between."""


class OpenIncident(StoreError):
    """The target has an open incident already."""


class LogFault(StoreError):
    """An append-only log is not what was written; nothing is concluded from it."""


class UnknownIncident(StoreError):
    """There is no incident of this id."""
