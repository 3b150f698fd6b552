"""What stands before every path: who calls, from where, how often, and whether it is well formed."""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from monitor.api_settings import Scope as Grant
from monitor.audit import SIGNED
from monitor.web.access import ANONYMOUS, CALLER, Access, Caller, unauthorized, well_formed
from monitor.web.body import Receive, check_text, read_whole, replayed
from monitor.web.calls import PUT_DOWN, CallRecord
from monitor.web.incoming import LOGIN, Call, Scope, malformed
from monitor.web.limits import Limits
from monitor.web.problems import MEDIA_TYPE, PROBLEM, Problem
from monitor.web.sessions import Sessions, same
from monitor.web.signature import SIGNATURE, TIMESTAMP, is_signed

__all__ = ["Guard"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN, _METRICS = frozenset({"/health", "/healthz"}), "/metrics"
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
                    caller = scope[CALLER] = self._counted(call, partial(self._signer, call, body))
                check_text(body)
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
        caller = ANONYMOUS if call.is_signed else self._counted(call, partial(self._caller, call))
        if call.is_login:
            _check_pace(self._failures.wait(call.address))
        if call.of_api and not self._access.knows(call.one("host")):
            raise Problem(
                status=421, kind="unknown-host", title="Unknown host",
                detail="this is no name of the daemon; add the host to api.hosts, or call it by its address",
            )  # fmt: skip
        if call.changes:
            _check_origin(call)
        wants_token = (call.of_api and not call.is_login and not call.is_signed) or (
            call.path == _METRICS and self._access.protect_metrics
        )
        if wants_token and not caller.scopes:
            raise unauthorized("this call needs a token; send it as Authorization: Bearer …")
        return caller

    def _counted(self, call: Call, found: Callable[[], Caller]) -> Caller:
        """Return who calls. Who is known is counted by name: many callers may share a proxy's address.

        Raises:
            Problem: It is refused, or called too often.
        """
        try:
            caller = found()
        except Problem:
            _check_pace(self._calls.take(f"address {call.address}"))
            raise
        if caller.name != ANONYMOUS.name:
            _check_pace(self._calls.take(f"token {caller.name}"))
        elif not self._is_free(call):
            _check_pace(self._calls.take(f"address {call.address}"))
        return caller

    def _is_free(self, call: Call) -> bool:
        """Whether strangers may call it as often as they like: else one of them keeps the pager from seeing."""
        free = call.path in _OPEN or (call.path == _METRICS and not self._access.protect_metrics)
        return free and not call.changes

    def _caller(self, call: Call) -> Caller:
        if call.path in _OPEN:
            return ANONYMOUS
        if shown := call.one("authorization"):
            return self._of_token(call, _token(shown))
        if secret := call.cookie(self._access.cookie):
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
        secret, now = self._access.hook_secret, self._sessions.clock()
        shown, at = call.one(SIGNATURE), call.one(TIMESTAMP)
        if not secret or not is_signed(body, signature=shown, timestamp=at, secret=secret, now=now):
            _check_pace(self._failures.wait(call.address))
            raise unauthorized(
                "the signature is not right: sign with hooks.alertmanager.secret, and send the time as "
                "X-Grafana-Alerting-Timestamp"
            )
        return Caller(name=SIGNED, scopes=frozenset({Grant.OPERATE}))

    def _of_session(self, call: Call, secret: str) -> Caller:
        session = self._sessions.find(secret)
        if session is None:
            if not call.of_api or call.is_login:
                return self._access.anonymous
            raise unauthorized("the session has ended; sign in again")
        if call.changes and call.path != LOGIN and not same(call.one("x-csrf-token"), session.csrf):
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
        raise malformed("Content-Length and Transfer-Encoding exclude each other; send one of them")
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


def _uncached(call: Call) -> list[tuple[bytes, bytes]]:
    return [(b"cache-control", b"no-store")] if call.of_api else []


async def _refuse(problem: Problem, send: Send) -> None:
    body = problem.body()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()),
        *((k.lower().encode(), v.encode()) for k, v in problem.headers.items()),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
