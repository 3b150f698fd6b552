"""Sessions of the page: short, in memory, gone with the process."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.web.access import Caller

__all__ = ["Session", "Sessions", "same"]

_SESSIONS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A person at the page.

    Attributes:
        csrf: What a changing call must say in ``X-CSRF-Token``: a foreign page can't read it.
    """

    caller: Caller
    csrf: str
    expires_at: datetime


class Sessions:
    """Open sessions by the digest of their ids; the oldest goes where there are too many."""

    def __init__(self, *, clock: Callable[[], datetime], minutes: float) -> None:
        """Take the clock, and how long a session lasts."""
        self.clock = clock
        self._length = timedelta(minutes=minutes)
        self._open: OrderedDict[str, Session] = OrderedDict()

    def begin(self, caller: Caller) -> tuple[str, Session]:
        """Open a session; it ends with the caller's token at the latest.

        Returns:
            The id for the cookie, which is kept nowhere else, and the session.
        """
        secret, now = secrets.token_urlsafe(32), self.clock()
        digest = _digest(secret)
        ends = min(now + self._length, caller.expires or datetime.max.replace(tzinfo=now.tzinfo))
        session = Session(
            caller=replace(caller, session=digest), csrf=secrets.token_urlsafe(32), expires_at=ends
        )
        self._open[digest] = session
        while len(self._open) > _SESSIONS_MAX:
            self._open.popitem(last=False)
        return secret, session

    def find(self, secret: str) -> Session | None:
        """Return the session of a cookie, unless it has ended."""
        return self.of(Caller(name="", session=_digest(secret)))

    def of(self, caller: Caller) -> Session | None:
        """Return a caller's session, unless it has ended."""
        session = self._open.get(caller.session)
        if session and self.clock() >= session.expires_at:
            self.end(caller)
            return None
        return session

    def end(self, caller: Caller) -> None:
        """End a caller's session, where there is one."""
        self._open.pop(caller.session, None)


def same(shown: str, kept: str) -> bool:
    """Whether a secret that was shown is the one that is kept."""
    return hmac.compare_digest(shown.encode(), kept.encode())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
