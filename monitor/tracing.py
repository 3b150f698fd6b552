"""The path that the evidence took to an alarm: the log folded again, probe by probe. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from monitor.fold import fold
from monitor.probe_log import LogEntry
from monitor.watch import SURVEY, Phase, Watch

__all__ = ["Part", "Point", "Trace", "trace"]

_LEAD_MIN, _TAIL_MIN = 40, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where the evidence stood after one probe; natural logs, minus infinity where there was none."""

    position: int
    at: datetime
    stream: str
    harmful: bool | None
    missing: str
    phase: Phase
    log_r: float
    log_survey: float
    log_strata: float
    log_part: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What fired: the suite as a whole, or a stratum.

    Attributes:
        null: Highest healthy rate; ``None`` where nothing is known of it.
        n: Scored probes of the epoch up to the alarm.
        n_rise: Those since the evidence began to rise.
        sure: Whether it would be named by itself, at the threshold of the alarm.
    """

    name: str
    null: float | None
    n: int
    harmful: int
    n_rise: int
    harmful_rise: int
    log_evidence: float
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The evidence of one epoch, and the alarm in it.

    Attributes:
        points: One for each probe of the epoch.
        quiet: The watch just before the evidence began to rise: the last time that the evidence of what fired (of the
            first part, where there are several) was no more than 1, which is none.
        alarm: The watch as it was when it fired.
        fired: What was named then.
    """

    points: tuple[Point, ...]
    quiet: Watch
    alarm: Watch
    fired: tuple[str, ...]

    @property
    def rise(self) -> tuple[Point, ...]:
        """Probes from where the evidence began to rise to the alarm."""
        return self.points[self.quiet.position : self.alarm.position]

    @property
    def window(self) -> tuple[Point, ...]:
        """The rise, with what came before and after it."""
        first, last, long = self.quiet.position, self.alarm.position, len(self.rise)
        return self.points[max(0, first - max(_LEAD_MIN, long)) : last + max(_TAIL_MIN, long // 3)]

    @property
    def parts(self) -> tuple[Part, ...]:
        """What fired, in figures."""
        return tuple(self._part(name) for name in self.fired)

    def _part(self, name: str) -> Part:
        watch, before = self.alarm, self.quiet
        gamma = watch.rates.gamma_breach
        n, harmful = _counted(watch, name)
        n_before, harmful_before = _counted(before, name)
        whole = name == SURVEY
        log_evidence = watch.survey.log_r if whole else watch.strata.log_r_of(name)
        return Part(
            name=name, null=watch.rates.p0 if whole else watch.nulls.get(name), n=n, harmful=harmful,
            n_rise=n - n_before, harmful_rise=harmful - harmful_before, log_evidence=log_evidence,
            sure=log_evidence >= math.log(gamma) if whole else name in watch.strata.e_bh(gamma),
        )  # fmt: skip


def trace(watch: Watch, entries: Iterable[LogEntry], *, position: int, fired: tuple[str, ...]) -> Trace:
    """Fold an epoch's log and keep the path.

    Args:
        watch: The epoch's beginning.
        entries: Its routine probes.
        position: The record that the alarm came with; the last one where the log ends before it.
        fired: What was named, at least one part; the path of the first stratum among it is kept.

    Raises:
        LogFault: The log is not what was written.
    """
    name = next((f for f in fired if f != SURVEY), "")
    quiet = alarm = watch
    points = []
    for entry in entries:
        watch = fold(watch, [entry])
        points.append(_point(watch, entry, name))
        if entry.position <= position:
            alarm = watch
            quiet = watch if _is_calm(watch, fired[0]) else quiet
    return Trace(points=tuple(points), quiet=quiet, alarm=alarm, fired=fired)


def _is_calm(watch: Watch, name: str) -> bool:
    log_r = watch.survey.log_r if name == SURVEY else watch.strata.log_r_of(name)
    return log_r <= 0


def _point(watch: Watch, entry: LogEntry, name: str) -> Point:
    return Point(
        position=entry.position, at=entry.at, stream=entry.stream, harmful=entry.harmful, missing=entry.missing,
        phase=watch.phase, log_r=watch.log_r, log_survey=watch.survey.log_r, log_strata=watch.strata.log_r,
        log_part=watch.strata.log_r_of(name),
    )  # fmt: skip


def _counted(watch: Watch, name: str) -> tuple[int, int]:
    if name == SURVEY:
        return watch.gauge.n, int(watch.gauge.total)
    stratum = watch.by_stratum.get(name)
    return (stratum.gauge.n, int(stratum.gauge.total)) if stratum else (0, 0)
