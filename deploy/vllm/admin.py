"""The supervisor's admin application: what the deployer calls, behind a token that only its owner can read.

Every answer is JSON, but for the page of metrics. Each change carries its caller's fence, see ``deploy.record``.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deploy.durable import write_whole
from deploy.errors import CheckpointError, DeployerUnavailable, Fenced, StageError, StoreInUse
from deploy.vllm.counts import Counts

__all__ = ["Verbs", "admin", "admin_token"]

log = logging.getLogger("alignd.supervisor")

_TOKEN_LENGTH_MIN = 32
_LOGGED_PATH_CHARACTERS = 80
_STATUS = {
    "token": 401, "request": 400, "route": 404, "checkpoint": 409, "fenced": 409, "stage": 409, "busy": 409,
    "front": 503, "internal": 500,
}  # fmt: skip
"""Why a call is refused, as its answer and the counter name it, and how."""
_REFUSALS = (
    (CheckpointError, "checkpoint"), (Fenced, "fenced"), (StageError, "stage"), (StoreInUse, "busy"),
    (DeployerUnavailable, "front"),
)

Said = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a request's body holds."""

    release: str = ""
    fence: int = 0
    holder: str = "unknown"
    why: str = ""


_Verb = Callable[[_Asked], Awaitable[Said]]


class Verbs(Protocol):
    """What the application passes on."""

    def state(self) -> Said:
        """Say what is up."""
        ...

    def claim(self, holder: str) -> Said:
        """Let a deployer take over."""
        ...

    async def stage(self, release_id: str, fence: int) -> Said:
        """Bring a release up without traffic."""
        ...

    async def promote(self, release_id: str, fence: int) -> Said:
        """Give a release all new traffic."""
        ...

    async def roll_back(self, fence: int) -> Said:
        """Give the traffic back to the release before."""
        ...

    async def renew(self, release_id: str, fence: int) -> Said:
        """Serve the release that takes traffic from a new process."""
        ...

    async def quarantine(self, why: str, fence: int) -> Said:
        """Answer nobody until the next promotion."""
        ...

    async def lift(self, fence: int) -> Said:
        """Give users the desired release again."""
        ...

    async def retire(self, release_id: str, fence: int) -> Said:
        """Drain and stop a release."""
        ...

    async def metrics(self) -> str:
        """Return what the front refused, and the active server's own metrics where there is one."""
        ...


def admin(supervisor: Verbs, token: str) -> Starlette:
    """Return the admin application; every call needs the token, but for ``/metrics``."""
    door = _Door(token)

    async def state(_: _Asked) -> Said:
        return supervisor.state()

    async def claim(asked: _Asked) -> Said:
        return supervisor.claim(asked.holder)

    async def quarantine(asked: _Asked) -> Said:
        return await supervisor.quarantine(asked.why or "taken out of service", asked.fence)

    async def metrics(_: Request) -> Response:
        own = door.refused.page("alignd_admin_refused_requests_total", "Calls of the admin port that were refused")
        return PlainTextResponse(own + await supervisor.metrics())

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            door.route("/state", state, method="GET"),
            door.route("/claim", claim, needs=("holder",)),
            door.of_release("/stage", supervisor.stage),
            door.of_release("/promote", supervisor.promote),
            door.of_release("/renew", supervisor.renew),
            door.of_release("/retire", supervisor.retire),
            door.route("/quarantine", quarantine, needs=("why", "fence")),
            door.of_fence("/lift", supervisor.lift),
            door.of_fence("/roll-back", supervisor.roll_back),
        ],
        exception_handlers={HTTPException: door.no_such_route, Exception: door.unexpected},
    )


class _Door:
    """Lets calls with the token in; what is refused is logged and counted."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.refused = Counts(_STATUS)

    def route(self, path: str, verb: _Verb, *, method: str = "POST", needs: tuple[str, ...] = ()) -> Route:
        async def endpoint(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return self._refuse("token", "wrong or missing token", of=path)
            try:
                asked = _read(await request.json(), needs) if needs else _Asked()
            except (ValueError, TypeError, KeyError):
                return self._refuse("request", f"send a JSON object with {' and '.join(needs)}", of=path)
            try:
                return JSONResponse(await verb(asked))
            except (CheckpointError, StageError, StoreInUse, DeployerUnavailable) as error:
                word = next(word for kind, word in _REFUSALS if isinstance(error, kind))
                return self._refuse(word, str(error), of=f"{path} {asked.release}")

        return Route(path, endpoint, methods=[method])

    def of_release(self, path: str, verb: Callable[[str, int], Awaitable[Said]]) -> Route:
        """Make the route of a change of one release."""

        async def change(asked: _Asked) -> Said:
            return await verb(asked.release, asked.fence)

        return self.route(path, change, needs=("release", "fence"))

    def of_fence(self, path: str, verb: Callable[[int], Awaitable[Said]]) -> Route:
        """Make the route of a change that names no release."""

        async def change(asked: _Asked) -> Said:
            return await verb(asked.fence)

        return self.route(path, change, needs=("fence",))

    async def no_such_route(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        path = request.url.path[:_LOGGED_PATH_CHARACTERS]
        return self._refuse("route", "no such route or method", of=repr(path), status=status)

    async def unexpected(self, request: Request, error: Exception) -> Response:
        """Answer what nobody foresaw; the server logs the traceback."""
        return self._refuse("internal", f"{type(error).__name__}; see the supervisor's log", of=request.url.path)

    def _refuse(self, word: str, message: str, *, of: str, status: int = 0) -> JSONResponse:
        log.warning("refused %s: %s", of, message)
        self.refused.add(word)
        return JSONResponse({"error": word, "message": message}, status_code=status or _STATUS[word])


def _read(body: dict[str, object], needs: tuple[str, ...]) -> _Asked:
    """Read a body; what is needed must be there."""
    found = {name: body[name] for name in needs}
    return _Asked(
        release=str(found.get("release", "")), fence=int(str(found.get("fence", 0))),
        holder=str(found.get("holder", ""))[:100], why=str(found.get("why", ""))[:300],
    )  # fmt: skip


def admin_token(state: Path) -> str:
    """Read the admin token from the state folder; made at the first start, readable by its owner only.

    One that is cut short or damaged, by a full disk say, is made anew: an empty one would let everybody in.
    """
    file = state / "admin-token"
    token = file.read_text(errors="replace").strip() if file.exists() else ""
    if len(token) >= _TOKEN_LENGTH_MIN and token.isascii():
        return token
    token = secrets.token_urlsafe(32)
    write_whole(file, token, private=True)
    return token
