"""Settings of the rails: of one target, and of all targets together.

Each field's docstring says what it is, its unit, and why its default is what it is.
"""

from __future__ import annotations

import re
from datetime import time
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from monitor.cron import zone_of
from monitor.rails import Fleet, Rails
from monitor.section import Section
from monitor.windows import WEEKDAYS, Window

__all__ = ["FleetSettings", "RailSettings", "WindowSettings"]

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class WindowSettings(Section):
    """A weekly time in which a target may be repaired and a repair may be promoted."""

    days: tuple[Weekday, ...] = Field(default=get_args(Weekday), min_length=1)
    """Days on which it opens: mon, tue, wed, thu, fri, sat, sun; all of them if not given."""
    start: time
    """When it opens, on the zone's clock, e.g. "22:00"."""
    end: time
    """When it closes, e.g. "04:00"; at or before start, on the day after."""
    time_zone: str = "UTC"
    """Time zone by its IANA name, e.g. Europe/Berlin. Summer time is followed: it opens once a day, also in the nights
    in which clocks change."""

    @field_validator("start", "end", mode="before")
    @classmethod
    def _on_the_clock(cls, value: object) -> object:
        """Take text alone: YAML reads 22:00 without quotes as the number 1320."""
        if isinstance(value, time) or (isinstance(value, str) and _CLOCK.fullmatch(value)):
            return value
        raise ValueError(f'write a time of the day in quotes, "HH:MM" from "00:00" to "23:59", not {value!r}')

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        zone_of(value)
        return value

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.start == self.end:
            raise ValueError(f"start and end are both {self.start:%H:%M}; leave the windows out for no bound")
        return self

    def window(self) -> Window:
        """Return it as the rail takes it."""
        days = frozenset(WEEKDAYS.index(d) for d in self.days)
        return Window(days=days, start=self.start, end=self.end, zone=zone_of(self.time_zone))


class RailSettings(Section):
    """What keeps a target's remediation from going on by itself; see docs/howto/rails.md."""

    persist_seconds: float = Field(default=0.0, ge=0, le=86_400)
    """Seconds that a breach must last before it is confirmed on sealed prompts. 0: the test's evidence is enough, and
    users are exposed meanwhile; more where a target is known to be ill for moments."""
    cooldown_hours: float = Field(default=1.0, ge=0, le=720)
    """Hours between the end of an incident that was repaired and the next repair; doubled for each one that failed in a
    row. Time to look at what happened; users are on the last good release meanwhile."""
    cooldown_hours_max: float = Field(default=72.0, gt=0, le=8760)
    """Longest such pause, in hours."""
    patches_per_30_days: int = Field(default=8, ge=1)
    """Most repairs that are begun in 30 days. A target that needs more of them has a cause that no repair removes."""
    breaker_failures: int = Field(default=3, ge=1)
    """Repairs that fail in a row until the breaker opens; only a person closes it, by `alignd breaker reset`. A third
    failure is no accident."""
    disk_free_gb: float = Field(default=2.0, ge=0)
    """Free space in GB, where releases lie, for a repair to begin. Set it to three times the checkpoint: the work, the
    release and what is kept beside them. The default fits a model of 0.3 billion parameters."""
    memory_free_gb: float = Field(default=1.0, ge=0)
    """Free memory of this host in GB for a repair to begin. Set it to what the recipe needs for this model; the daemon
    and what it watches should not be killed for a repair. The default keeps the host itself alive."""
    windows: tuple[WindowSettings, ...] = ()
    """Maintenance windows; repairs and promotions wait for one. None: at any time. A roll-back never waits."""
    give_up_hours: float = Field(default=72.0, gt=0, le=8760)
    """Hours that rails may hold an incident until it is escalated to a person. Three days outlast a weekend."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.cooldown_hours > self.cooldown_hours_max:
            raise ValueError(
                f"cooldown_hours ({self.cooldown_hours:g}) must be at most cooldown_hours_max "
                f"({self.cooldown_hours_max:g})"
            )
        return self

    def rails(self, fleet: Fleet) -> Rails:
        """Return the rails of one target."""
        windows = tuple(w.window() for w in self.windows)
        return Rails(**{**self.model_dump(exclude={"windows"}), "windows": windows, "fleet": fleet})


class FleetSettings(Section):
    """Rails over all targets; see docs/howto/rails.md."""

    remediations_max: int = Field(default=2, ge=1)
    """Most repairs at once. Each loads the host and is somebody's attention."""
    healthy_ratio_min: float = Field(default=0.5, ge=0, le=1)
    """Share of the other targets that must answer their probes for a repair to be promoted (rail min_healthy). Where
    fewer do, the host or the network is at fault. 0 for off."""
    storm_targets: int = Field(default=3, ge=2)
    """Targets that breach at about the same time for it to be a storm, at least: then all of them stop and a person is
    asked, for the prober or its judge is suspected."""
    storm_ratio: float = Field(default=0.25, ge=0, le=1)
    """The same as a share of all targets; the larger of the two numbers counts."""
    storm_minutes: float = Field(default=30.0, gt=0, le=10_080)
    """How near to each other breaches are one storm, in minutes. About as long as the slowest target takes to be found
    drifted."""

    def fleet(self) -> Fleet:
        """Return it as the rails take it."""
        return Fleet(**self.model_dump())
