"""Settings of the HTTP API: who may call it, under which names it is called, and how much."""

from __future__ import annotations

from enum import StrEnum
from itertools import combinations
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from monitor.audit import NOBODYS
from monitor.section import Section

__all__ = ["ApiSettings", "Scope", "TokenSettings"]


class Scope(StrEnum):
    """What a token may do. None of them holds another."""

    READ = "read"
    """See targets, evidence, incidents and verdicts."""
    OPERATE = "operate"
    """Sweep, pause and resume; deliver webhooks."""
    APPROVE = "approve"
    """Approve, abort and roll back."""


def _somebodys(name: str) -> str:
    if name in NOBODYS:
        others = ", ".join(sorted(NOBODYS))
        raise ValueError(f"the audit log calls no person {name}; a token may be named anything but {others}")
    return name


class TokenSettings(Section):
    """One token; `alignd token new` makes it and prints these lines."""

    name: Annotated[str, AfterValidator(_somebodys)] = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}$")
    """Whose it is: lower-case letters, digits, dots, dashes. It stands in the audit log and beside orders."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    """SHA-256 of the token, 64 hexadecimal digits. The token itself is kept nowhere."""
    scopes: tuple[Scope, ...] = Field(default=(Scope.READ,), min_length=1)
    """What it may do: read, operate (sweep, pause, webhooks), approve (orders on incidents). None holds another."""
    expires: AwareDatetime | None = None
    """When it ends, with its time zone, e.g. 2027-01-31T00:00:00Z; none: never."""


class ApiSettings(Section):
    """The HTTP API, see docs/howto/api.md."""

    tokens: tuple[TokenSettings, ...] = ()
    """Who may call. Without one the API is read-only, and served on a loopback address alone."""
    hosts: tuple[str, ...] = ()
    """Names under which the API is called, e.g. alignd.example.org. Addresses, localhost and listen.host are always
    taken; any other name is refused, for a foreign page could have it point here."""
    session_minutes: float = Field(default=60.0, ge=1, le=1440)
    """Minutes that a session of the page lasts; an hour is one incident, and a stolen cookie is soon worth nothing."""
    requests_per_minute: int = Field(default=600, ge=1)
    """Calls of one token in a minute, and of all callers without a right one at one address; what is over is answered
    429. An open page takes 30. Reads of /health, /healthz and open /metrics are not counted."""
    failures_per_minute: int = Field(default=10, ge=1)
    """Calls of one address with a wrong token or signature in a minute; then it is told to wait. Right ones still
    pass."""
    protect_metrics: bool = False
    """Ask for a token with the scope read at /metrics, too; false, for Prometheus is often without one."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        for one, other in combinations(self.tokens, 2):
            if one.name == other.name:
                raise ValueError(f"two tokens have the same name {one.name!r}; each must have its own")
            if one.sha256 == other.sha256:
                raise ValueError(f"tokens {one.name} and {other.name} have the same sha256; each must have its own")
        return self
