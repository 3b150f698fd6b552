"""A call as it came in."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from monitor.web.problems import Problem
from monitor.web.signature import SIGNATURE

__all__ = ["LOGIN", "Call", "Scope", "malformed"]

Scope = MutableMapping[str, Any]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HOOK = "/api/v1/hooks/alertmanager"
LOGIN = "/api/v1/session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call as it came in; header names in lower case, a header that came twice in two values."""

    method: str
    path: str
    address: str
    headers: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def of(scope: Scope) -> Call:
        """Read an ASGI scope."""
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            headers[key] = (*headers.get(key, ()), value.decode("latin-1"))
        client = scope.get("client")
        return Call(method=scope["method"], path=scope["path"], address=client[0] if client else "", headers=headers)

    def one(self, name: str) -> str:
        """Return a header's value, empty where it is not there.

        Raises:
            Problem: It is there twice: what reads the first and what reads the last would not agree.
        """
        values = self.headers.get(name, ())
        if len(values) > 1:
            raise malformed(f"the header {name} is there {len(values)} times; send it once")
        return values[0] if values else ""

    def cookie(self, name: str) -> str:
        """Return a cookie's value, empty where it is not there.

        Raises:
            Problem: It is there twice.
        """
        pairs = (part.strip().partition("=") for part in self.one("cookie").split(";"))
        found = [value for key, _, value in pairs if key == name]
        if len(found) > 1:
            raise malformed(f"the cookie {name} is there {len(found)} times; send it once")
        return found[0] if found else ""

    @property
    def changes(self) -> bool:
        """Whether its method may change something."""
        return self.method not in _SAFE

    @property
    def is_login(self) -> bool:
        """Whether it shows its token in its body."""
        return (self.method, self.path) == ("POST", LOGIN)

    @property
    def shows_token(self) -> bool:
        """Whether it may be a guess: a page that was left open without a session guesses nothing."""
        return self.is_login or self.is_signed or "authorization" in self.headers

    @property
    def is_signed(self) -> bool:
        """Whether it shows a signature in place of a token."""
        posted = (self.method, self.path) == ("POST", _HOOK)
        return posted and SIGNATURE in self.headers and "authorization" not in self.headers

    @property
    def of_api(self) -> bool:
        """Whether it is for the API."""
        return self.path.startswith("/api/")


def malformed(detail: str) -> Problem:
    """Refuse, and close: what stands behind it on the connection may be a call that somebody smuggled in."""
    return Problem(
        status=400, kind="malformed", title="Not well formed", detail=detail, headers={"Connection": "close"}
    )
