"""How long a server has been silent: requests that were waited for in vain, one after the other. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["WAITS_MAX", "Silence"]

WAITS_MAX = 3
"""So many whole waits in a row, and the server hangs. One prompt that it can't answer takes two of them."""


@dataclass(slots=True)
class Silence:
    """Whole waits in a row; those side by side are one, and one in which something was answered is none.

    Eight requests that run out together say no more than one does: a pause of the server's holds up all of them.
    """

    waits: int = 0
    _until: float = -math.inf

    @property
    def hangs(self) -> bool:
        """Whether it has lasted so long that asking on only costs time."""
        return self.waits >= WAITS_MAX

    def broken(self, now: float) -> None:
        """Take in that the server said something, if only an error.

        Args:
            now: Seconds on a clock that nobody sets.
        """
        self.waits, self._until = 0, now

    def waited(self, now: float, seconds: float) -> None:
        """Take in that a request ran out.

        Args:
            now: Seconds on the same clock.
            seconds: Between sending it and giving it up.
        """
        if now - seconds >= self._until:
            self.waits, self._until = self.waits + 1, now
