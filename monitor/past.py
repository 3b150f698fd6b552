"""What the store knows of targets that were not probed yet since the process started."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from monitor.kept import SweepSummary
from monitor.probe_log import Epoch
from monitor.store import Store

__all__ = ["Past"]

T = TypeVar("T")


class Past:
    """Reads a target's newest epoch and sweep once: until this process probes it, nobody adds to them.

    Hundreds of targets have their first sweeps within a minute of the start; scrapes that read all of this anew
    meanwhile would make them late.
    """

    def __init__(self, store: Store) -> None:
        """Take the store."""
        self._store = store
        self._epochs: dict[str, Epoch | None] = {}
        self._sweeps: dict[str, SweepSummary | None] = {}

    def epoch(self, name: str) -> Epoch | None:
        """Return a target's newest epoch."""
        return _once(self._epochs, name, self._store.latest_epoch)

    def sweep(self, name: str) -> SweepSummary | None:
        """Summarise a target's newest sweep."""
        return _once(self._sweeps, name, lambda name: next(iter(self._store.sweeps(name, limit=1)), None))

    def forget(self, name: str) -> None:
        """Read them anew when they are next asked for."""
        self._epochs.pop(name, None)
        self._sweeps.pop(name, None)


def _once(known: dict[str, T], name: str, read: Callable[[str], T]) -> T:
    if name not in known:
        known[name] = read(name)
    return known[name]
