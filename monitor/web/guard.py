"""What stands before every path: who calls, from where, how often, and whether it is well formed."""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from monitor.api_settings import Scope as Grant
from monitor.web.access import ANONYMOUS, CALLER, Access, Caller, unauthorized, well_formed
from monitor.web.body import Receive, read_whole, replayed
from monitor.web.calls import PUT_DOWN, CallRecord
from monitor.web.limits import Limits
from monitor.web.problems import MEDIA_TYPE, PROBLEM, Problem
from monitor.web.sessions import Sessions, same
from monitor.web.signature import SIGNATURE, TIMESTAMP, is_signed

__all__ = ["Call", "Guard"]

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/health", "/healthz"})
_LOGIN = "/api/v1/session"
_HOOK = "/api/v1/hooks/alertmanager"
_PATH_MAX = 200
_NOT_REFUSED, _UNKNOWN = 404, 401
_BODY_SECONDS = 10.0
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_SECURE = {"strict-transport-security": "max-age=31536000"}


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
            raise _malformed(f"the header {name} is there {len(values)} times; send it once")
        return values[0] if values else ""

    @property
    def changes(self) -> bool:
        """Whether its method may change something."""
        return self.method not in _SAFE

    @property
    def is_login(self) -> bool:
        """Whether it shows its token in its body."""
        return (self.method, self.path) == ("POST", _LOGIN)

    @property
    def shows_token(self) -> bool:
        """Whether it may be a guess: a page that was left open without a session guesses nothing."""
        return self.is_login or self.is_signed or "authorization" in self.headers

    @property
    def is_signed(self) -> bool:
        """Whether it shows a signature in place of a token."""
        return self.path == _HOOK and SIGNATURE in self.headers and "authorization" not in self.headers

    @property
    def of_api(self) -> bool:
        """Whether it is for the API."""
        return self.path.startswith("/api/")


class Guard:
    """Refuses what is not well formed, comes from elsewhere or from nobody; the rest goes on to the application."""

    def __init__(
        self, app: App, *, access: Access, sessions: Sessions, record: Callable[[CallRecord], None]
    ) -> None:
        """Take what is guarded, who may call, and where calls are put down."""
        self._app = app
        self._access = access
        self._sessions = sessions
        self._record = record
        self._calls = Limits(per_minute=access.requests_per_minute, clock=time.monotonic)
        self._failures = Limits(per_minute=access.failures_per_minute, clock=time.monotonic)
        self._headers = [
            (k.encode(), v.encode()) for k, v in {**_HEADERS, **(_SECURE if access.secure else {})}.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            return
        call, status, caller = Call.of(scope), 500, ANONYMOUS

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers, *_uncached(call)]
            await send(message)

        try:
            caller = scope[CALLER] = self._admitted(call)
            if call.changes:
                announced = call.one("content-length")
                body = await read_whole(receive, announced=announced, seconds=_BODY_SECONDS)
                if call.is_signed:
                    caller = scope[CALLER] = self._signer(call, body)
                receive = replayed(body, receive)
            await self._app(scope, receive, answer)
        except Problem as problem:
            scope[PROBLEM] = problem
            await _refuse(problem, answer)
        finally:
            if status == _UNKNOWN and call.shows_token:
                self._failures.take(call.address)
            if call.changes or PUT_DOWN in scope or (status >= 400 and status != _NOT_REFUSED):
                found = scope.get(PROBLEM)
                self._record(CallRecord(
                    caller=caller.name, address=call.address, method=call.method[:20], path=call.path[:_PATH_MAX],
                    status=status, problem=found.kind if found else "",
                ))  # fmt: skip

    def _admitted(self, call: Call) -> Caller:
        """Return who calls.

        Raises:
            Problem: It is refused.
        """
        _check_form(call)
        _check_pace(self._calls.take(f"address {call.address}"))
        if call.is_login:
            _check_pace(self._failures.wait(call.address))
        if call.of_api and not self._access.knows(call.one("host")):
            raise Problem(
                status=421, kind="unknown-host", title="Unknown host",
                detail="this is no name of the daemon; add the host to api.hosts, or call it by its address",
            )  # fmt: skip
        if call.changes:
            _check_origin(call)
        caller = self._caller(call)
        if caller.scopes and caller.name != ANONYMOUS.name:
            _check_pace(self._calls.take(f"token {caller.name}"))
        wants_token = (call.of_api and not call.is_login and not call.is_signed) or (
            call.path == "/metrics" and self._access.protect_metrics
        )
        if wants_token and not caller.scopes:
            raise unauthorized("this call needs a token; send it as Authorization: Bearer …")
        return caller

    def _caller(self, call: Call) -> Caller:
        if call.path in _OPEN:
            return ANONYMOUS
        if shown := call.one("authorization"):
            return self._of_token(call, _token(shown))
        if secret := _cookie(call, self._access.cookie):
            return self._of_session(call, secret)
        return self._access.anonymous

    def _of_token(self, call: Call, token: str) -> Caller:
        try:
            if not well_formed(token):
                raise unauthorized("this is no token of alignd; send it as Authorization: Bearer alignd_…")
            return self._access.caller_of(token, self._sessions.clock())
        except Problem:
            _check_pace(self._failures.wait(call.address))
            raise

    def _signer(self, call: Call, body: bytes) -> Caller:
        _check_pace(self._failures.wait(call.address))
        secret, now = self._access.hook_secret, self._sessions.clock()
        shown, at = call.one(SIGNATURE), call.one(TIMESTAMP)
        if not secret or not is_signed(body, signature=shown, timestamp=at, secret=secret, now=now):
            raise unauthorized(
                "the signature is not right: sign with hooks.alertmanager.secret, and send the time as "
                "X-Grafana-Alerting-Timestamp"
            )
        return Caller(name="signed-webhook", scopes=frozenset({Grant.OPERATE}))

    def _of_session(self, call: Call, secret: str) -> Caller:
        session = self._sessions.find(secret)
        if session is None:
            if not call.of_api or call.is_login:
                return self._access.anonymous
            raise unauthorized("the session has ended; sign in again")
        if call.changes and call.path != _LOGIN and not same(call.one("x-csrf-token"), session.csrf):
            raise Problem(
                status=403, kind="csrf", title="Not from the page",
                detail="a call that changes something must say the session's X-CSRF-Token; GET /api/v1/whoami has it",
            )  # fmt: skip
        return session.caller


def _token(shown: str) -> str:
    """Return the token of an ``Authorization``: a bearer's, or a password, for callers that know nothing else."""
    scheme, _, rest = shown.partition(" ")
    if scheme.lower() != "basic":
        return rest if scheme.lower() == "bearer" else ""
    try:
        return base64.b64decode(rest, validate=True).decode("ascii").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _check_pace(seconds: float) -> None:
    if seconds:
        raise Problem(
            status=429, kind="too-many-calls", title="Too many calls",
            detail=f"call again in {math.ceil(seconds)} s; api.requests_per_minute and api.failures_per_minute say how "
            "many are taken", headers={"Retry-After": str(math.ceil(seconds))},
        )  # fmt: skip


def _check_form(call: Call) -> None:
    if call.one("content-length") and call.one("transfer-encoding"):
        raise _malformed("Content-Length and Transfer-Encoding exclude each other; send one of them")
    has_body = call.one("content-length") not in {"", "0"} or bool(call.one("transfer-encoding"))
    if call.method in {"POST", "PUT", "PATCH"} and call.of_api and has_body:
        kind = call.one("content-type").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(
                status=415, kind="no-json", title="Not JSON", detail="send the body as Content-Type: application/json"
            )


def _check_origin(call: Call) -> None:
    """Refuse what another site's page sends: its browser says so."""
    origin, site = call.one("origin"), call.one("sec-fetch-site")
    same_origin = not origin or origin.partition("://")[2] == call.one("host")
    if not same_origin or site not in {"", "same-origin", "none"}:
        raise Problem(
            status=403, kind="cross-site", title="From another site",
            detail="a call that changes something must come from the daemon's own page, or from no page at all",
        )  # fmt: skip


def _cookie(call: Call, name: str) -> str:
    pairs = (part.strip().partition("=") for part in call.one("cookie").split(";"))
    found = [value for key, _, value in pairs if key == name]
    if len(found) > 1:
        raise _malformed(f"the cookie {name} is there {len(found)} times; send it once")
    return found[0] if found else ""


def _uncached(call: Call) -> list[tuple[bytes, bytes]]:
    return [(b"cache-control", b"no-store")] if call.of_api else []


def _malformed(detail: str) -> Problem:
    """Refuse, and close: what stands behind it on the connection may be a call that somebody smuggled in."""
    return Problem(
        status=400, kind="malformed", title="Not well formed", detail=detail, headers={"Connection": "close"}
    )


async def _refuse(problem: Problem, send: Send) -> None:
    body = problem.body()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()),
        *((k.lower().encode(), v.encode()) for k, v in problem.headers.items()),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
