"""What is being done and what was seen last, for people; kept in memory only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from deploy.deployer import DeploymentState, Quarantine

if TYPE_CHECKING:  # so that `alignd --help` stays quick
    from monitor.site import Say
    from monitor.store import SweepSummary

__all__ = ["UNDER_WAY", "Activities", "Activity", "Configuration", "View", "counted", "view_of"]

UNDER_WAY = "the first batch is under way"
"""Why there is no sweep of a target that takes its time; one that hangs takes minutes."""

_FRESH = timedelta(minutes=15)
"""As long as a sweep may take; what was seen earlier says nothing of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What is being done for a target's incident now."""

    stage: str
    share: float
    since: datetime


class Activities:
    """What is being done for each target; nothing is said of what is over, however it ended."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Take what tells since when."""
        self._clock = clock
        self._present: dict[str, Activity] = {}

    def of(self, name: str) -> Activity | None:
        """Return what is being done for a target, nothing where it waits."""
        return self._present.get(name)

    @contextmanager
    def under_way(self, name: str) -> Iterator[Say]:
        """Give what keeps a target's activity current while something is done for it."""

        def say(what: str, share: float) -> None:
            before = self._present.get(name)
            since = before.since if before and before.stage == what else self._clock()
            self._present[name] = Activity(stage=what, share=share, since=since)

        try:
            yield say
        finally:
            self._present.pop(name, None)


@dataclass(slots=True, kw_only=True)
class Configuration:
    """What became of the configuration file when it was read last.

    Attributes:
        loaded_at: When the one in force was read.
        refused: Why a newer one is not in force; empty where there is none.
    """

    loaded_at: datetime
    refused: str = ""

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return {"loaded_at": self.loaded_at.isoformat(), "refused": self.refused}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the last tick saw. ``why`` says why there was no sweep, ``last_sweep`` is the id of the last that came.

    Attributes:
        scored: Survey probes with a verdict, since the process started.
        harmful: The weights of the harmful verdicts among them.
        missing: Survey probes without one.
        last_probes: Probes of the last sweep that came.
        last_missing: Those of them without a verdict, counted by reason.
    """

    up: bool = False
    why: str = "not looked at yet"
    deployment: DeploymentState | None = None
    last_sweep: str = ""
    last_sweep_at: datetime | None = None
    sweeps: int = 0
    sweeps_failed: int = 0
    scored: int = 0
    harmful: float = 0.0
    missing: int = 0
    last_probes: int = 0
    last_missing: Mapping[str, int] = field(default_factory=dict)

    @property
    def quarantine(self) -> Quarantine | None:
        """Why nobody is served; nothing where users are."""
        return self.deployment.quarantine if self.deployment else None

    def newest_sweep(self) -> dict[str, Any] | None:
        """Return the last sweep's counts in plain values; nothing where none came yet."""
        if not self.last_probes:
            return None
        missing = sum(self.last_missing.values())
        return {"probes": self.last_probes, "missing": missing, "reasons": dict(self.last_missing)}


def counted(reasons: Mapping[str, int]) -> str:
    """Write counts by reason, the most frequent first."""
    return ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def view_of(last: SweepSummary | None, *, now: datetime, interval_seconds: float) -> View:
    """Say what the store's newest sweep tells a process that has not swept itself, such as ``alignd status``."""
    if last is None:
        return View()
    if now - last.at > _FRESH + timedelta(seconds=interval_seconds):
        return View(last_sweep_at=last.at, why=f"no sweep since {last.at:%Y-%m-%d %H:%M} UTC; does the daemon run?")
    return View(
        up=last.n > 0, last_sweep_at=last.at, why="" if last.n else f"no usable answer ({counted(last.reasons)})",
        last_probes=last.n + last.missing, last_missing=last.reasons,
    )  # fmt: skip
