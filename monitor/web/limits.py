"""How much one caller may ask: token buckets, by address and by token. Pure but for what the buckets hold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Limits"]

_CALLERS_MAX = 10_000
"""Buckets that are kept; the one that was used longest ago goes, so that many addresses don't fill the memory."""


class Limits:
    """A bucket for each caller: it holds a minute's calls, and fills again over a minute."""

    def __init__(self, *, per_minute: float, clock: Callable[[], float]) -> None:
        """Take how many calls a minute may have, and a clock that nobody sets, in seconds."""
        self._most = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Count a call.

        Returns:
            0 where it may be made; else the seconds until the next may, and nothing is counted.
        """
        left, now = self._left(caller), self._clock()
        if left < 1.0:
            return self._seconds(left)
        self._buckets[caller] = (left - 1.0, now)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > _CALLERS_MAX:
            self._buckets.popitem(last=False)
        return 0.0

    def wait(self, caller: str) -> float:
        """Return the seconds until the next call may be made, without counting one."""
        left = self._left(caller)
        return 0.0 if left >= 1.0 else self._seconds(left)

    def _left(self, caller: str) -> float:
        left, at = self._buckets.get(caller, (self._most, self._clock()))
        return min(self._most, left + (self._clock() - at) * self._most / 60.0)

    def _seconds(self, left: float) -> float:
        return (1.0 - left) * 60.0 / self._most
