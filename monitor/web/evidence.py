"""The path of an epoch's evidence, thinned out for a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.fold import fold
from monitor.probe_log import LogEntry
from monitor.watch import Watch

__all__ = ["Height", "path_of", "thinned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Height:
    """Where the evidence stood after a probe; minus infinity where there was none."""

    position: int
    at: datetime
    log: float


def path_of(watch: Watch, entries: Iterable[LogEntry]) -> list[Height]:
    """Fold an epoch's log and keep how its evidence rose.

    Raises:
        LogFault: The log is not what was written.
    """
    path = []
    for entry in entries:
        watch = fold(watch, [entry])
        path.append(Height(position=entry.position, at=entry.at, log=watch.log_r))
    return path


def thinned(path: Sequence[Height], *, most: int) -> list[Height]:
    """Keep at most so many: of equal stretches the highest each, so that no peak is lost, and the last one.

    Args:
        most: At least 2.
    """
    if len(path) <= most:
        return list(path)
    before, stretch = path[:-1], math.ceil((len(path) - 1) / (most - 1))
    peaks = (max(before[i : i + stretch], key=lambda h: h.log) for i in range(0, len(before), stretch))
    return [*peaks, path[-1]]
