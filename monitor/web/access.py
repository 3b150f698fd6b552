"""Who calls: tokens, their digests and scopes. Pure but for the making of a token."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from monitor.api_settings import ApiSettings, Scope, TokenSettings
from monitor.audit import STRANGER
from monitor.daemon_settings import ListenSettings
from monitor.hook_settings import HooksSettings
from monitor.web.problems import Problem

__all__ = [
    "ANONYMOUS", "CALLER", "PREFIX", "Access", "Caller", "digest_of", "new_token", "require", "unauthorized",
    "well_formed",
]  # fmt: skip

PREFIX = "alignd_"
"""Every token begins so: scanners of repositories and logs find one that leaked."""
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECK = 32, 6
"""190 random bits, and a checksum in six letters: a torn or mistyped token is known without a look at the settings."""


def new_token() -> str:
    """Draw a token."""
    drawn = "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM))
    return f"{PREFIX}{drawn}{_checksum(drawn)}"


def well_formed(token: str) -> bool:
    """Whether it has a token's form and checksum."""
    drawn, check = token[len(PREFIX) : -_CHECK], token[-_CHECK:]
    whole = token.startswith(PREFIX) and len(token) == len(PREFIX) + _RANDOM + _CHECK
    return whole and set(drawn) <= set(_LETTERS) and _checksum(drawn) == check


def digest_of(token: str) -> str:
    """Return what the settings keep of a token. It is random enough for a plain digest to be safe."""
    return hashlib.sha256(token.encode()).hexdigest()


def _checksum(drawn: str) -> str:
    rest, found = zlib.crc32(drawn.encode()), ""
    for _ in range(_CHECK):
        rest, digit = divmod(rest, len(_LETTERS))
        found = _LETTERS[digit] + found
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls.

    Attributes:
        name: A token's name; ``anonymous`` where none was shown.
        expires: When the token ends.
        session: Digest of the session's id, where the call came with a cookie.
    """

    name: str
    scopes: frozenset[Scope] = frozenset()
    expires: datetime | None = None
    session: str = ""


ANONYMOUS = Caller(name=STRANGER)
CALLER = "alignd.caller"
"""Where the scope of a call keeps who calls."""


def require(caller: Caller, scope: Scope) -> None:
    """Refuse a caller who lacks a scope.

    Raises:
        Problem: Nobody is known, or the token may not do this.
    """
    if scope in caller.scopes:
        return
    if caller.name == ANONYMOUS.name and not caller.scopes:
        raise unauthorized("this call needs a token; send it as Authorization: Bearer …")
    has = ", ".join(sorted(caller.scopes)) or "none"
    raise Problem(
        status=403, kind="missing-scope", title="The scope is missing",
        detail=f"this call needs the scope {scope.value}; {caller.name} has: {has}",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call, and under which names.

    Attributes:
        open_to_read: Whether everybody may read: no token is set, and only this machine can call.
    """

    tokens: Sequence[TokenSettings] = ()
    hosts: frozenset[str] = frozenset({"localhost"})
    open_to_read: bool = True
    protect_metrics: bool = False
    session_minutes: float = 60.0
    requests_per_minute: float = 600.0
    failures_per_minute: float = 10.0
    secure: bool = False
    hook_secret: bytes = field(default=b"", repr=False)

    @staticmethod
    def of(api: ApiSettings, listen: ListenSettings, hooks: HooksSettings | None = None) -> Access:
        """Make it of the settings."""
        secret = hooks.alertmanager.secret if hooks else None
        public = urlsplit(listen.public_url).hostname or "localhost"
        return Access(
            tokens=api.tokens, hosts=frozenset(h.lower() for h in ("localhost", listen.host, public, *api.hosts)),
            open_to_read=not api.tokens and _is_loopback(listen.host), protect_metrics=api.protect_metrics,
            session_minutes=api.session_minutes, requests_per_minute=api.requests_per_minute,
            failures_per_minute=api.failures_per_minute, secure=listen.tls_certificate is not None,
            hook_secret=secret.get_secret_value().encode() if secret else b"",
        )  # fmt: skip

    @property
    def cookie(self) -> str:
        """Return the name of the session's cookie; with TLS one that no other host or path can set."""
        return "__Host-alignd-session" if self.secure else "alignd-session"

    @property
    def anonymous(self) -> Caller:
        """Return who calls without a token."""
        return Caller(name=STRANGER, scopes=frozenset({Scope.READ})) if self.open_to_read else ANONYMOUS

    def caller_of(self, token: str, now: datetime) -> Caller:
        """Return whose token it is; the time that takes does not depend on how much of it is right.

        Raises:
            Problem: It is nobody's, or has ended.
        """
        digest, found = digest_of(token), None
        for known in self.tokens:
            if hmac.compare_digest(digest, known.sha256):
                found = known
        if found is None:
            raise unauthorized("the token is not known; `alignd token new` makes one")
        if found.expires and now >= found.expires:
            raise unauthorized(f"the token {found.name!r} has ended on {found.expires:%Y-%m-%d}; make a new one")
        return Caller(name=found.name, scopes=frozenset(found.scopes), expires=found.expires)

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` is this daemon's: a listed name, or an address, which nobody can point elsewhere."""
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        return name.lower() in self.hosts or _is_address(name)


def unauthorized(detail: str) -> Problem:
    """Return the refusal of a call that does not show who it comes from."""
    return Problem(
        status=401, kind="unauthorized", title="Unauthorized", detail=detail,
        headers={"WWW-Authenticate": 'Bearer realm="alignd"'},
    )  # fmt: skip


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
