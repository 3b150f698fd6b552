"""The outermost loop: what goes wrong in one batch or step must not end the watch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from monitor.errors import StoreBusy, StoreLost, StoreUnavailable

__all__ = ["Guard"]

log = logging.getLogger("alignd")

_TELL_SECONDS = 60.0


class Guard:
    """Awaits actions and logs what goes wrong; each is done again.

    A store that is away is told of once a minute, and is back when what failed last has gone well: on a full disk the
    rounds that only read go well all the time. One that another daemon took over ends this daemon: its next effect
    would be done by two.
    """

    def __init__(self, stop: asyncio.Event, *, steady: Callable[[], float] = time.monotonic) -> None:
        """Take what ends the daemon, and a clock that nobody sets."""
        self._stop = stop
        self._steady = steady
        self._told: float | None = None
        self._failed = "", ""
        self.lost: StoreBusy | StoreLost | None = None
        """Why this daemon may write no more."""

    async def __call__(self, action: str, subject: str, work: Awaitable[None]) -> bool:
        """Await an action; say whether it went well."""
        try:
            await work
        except (StoreBusy, StoreLost) as error:
            self.lost = error
            self._stop.set()
        except StoreUnavailable as error:
            self._failed = action, subject
            self._tell(str(error))
        except Exception:
            log.exception("%s_failed", action, extra={"subject": subject})
        else:
            if self._told is not None and self._failed == (action, subject):
                log.warning("store_back")
                self._told = None
            return True
        return False

    def _tell(self, why: str) -> None:
        now = self._steady()
        if self._told is None or now - self._told >= _TELL_SECONDS:
            self._told = now
            log.error("store_unavailable", extra={"why": why})
