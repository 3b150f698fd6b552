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

__all__ = ["Verbs", "admin", "admin_token"]

log = logging.getLogger("alignd.supervisor")

_TOKEN_LENGTH_MIN = 32
_REFUSALS = ((CheckpointError, "checkpoint"), (Fenced, "fenced"), (StageError, "stage"), (StoreInUse, "busy"))

Said = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a request's body holds."""

    release: str = ""
    fence: int = 0
    holder: str = "unknown"


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

    async def retire(self, release_id: str, fence: int) -> Said:
        """Drain and stop a release."""
        ...

    async def metrics(self) -> str | None:
        """Return the active server's own metrics; ``None`` where there is none."""
        ...


def admin(supervisor: Verbs, token: str) -> Starlette:
    """Return the admin application; every call needs the token, but for the active server's ``/metrics``."""

    async def state(_: _Asked) -> Said:
        return supervisor.state()

    async def claim(asked: _Asked) -> Said:
        return supervisor.claim(asked.holder)

    async def stage(asked: _Asked) -> Said:
        return await supervisor.stage(asked.release, asked.fence)

    async def promote(asked: _Asked) -> Said:
        return await supervisor.promote(asked.release, asked.fence)

    async def retire(asked: _Asked) -> Said:
        return await supervisor.retire(asked.release, asked.fence)

    async def roll_back(asked: _Asked) -> Said:
        return await supervisor.roll_back(asked.fence)

    async def metrics(_: Request) -> Response:
        page = await supervisor.metrics()
        return PlainTextResponse("no release is active\n", status_code=503) if page is None else PlainTextResponse(page)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            _route("/state", state, token, method="GET"),
            _route("/claim", claim, token, needs=("holder",)),
            _route("/stage", stage, token, needs=("release", "fence")),
            _route("/promote", promote, token, needs=("release", "fence")),
            _route("/retire", retire, token, needs=("release", "fence")),
            _route("/roll-back", roll_back, token, needs=("fence",)),
        ],
        exception_handlers={HTTPException: _no_such_route, Exception: _unexpected},
    )


def _route(path: str, verb: _Verb, token: str, *, method: str = "POST", needs: tuple[str, ...] = ()) -> Route:
    async def endpoint(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return _refused(401, "token", "wrong or missing token")
        try:
            asked = _read(await request.json(), needs) if needs else _Asked()
        except (ValueError, TypeError, KeyError):
            return _refused(400, "request", f"send a JSON object with {' and '.join(needs)}")
        try:
            return JSONResponse(await verb(asked))
        except (CheckpointError, StageError, StoreInUse) as error:
            log.warning("refused %s %s: %s", path, asked.release, error)
            word = next(word for kind, word in _REFUSALS if isinstance(error, kind))
            return _refused(409, word, str(error))
        except DeployerUnavailable as error:
            log.warning("refused %s %s: %s", path, asked.release, error)
            return _refused(503, "front", str(error))

    return Route(path, endpoint, methods=[method])


def _read(body: dict[str, object], needs: tuple[str, ...]) -> _Asked:
    """Read a body; what is needed must be there."""
    found = {name: body[name] for name in needs}
    return _Asked(
        release=str(found.get("release", "")), fence=int(str(found.get("fence", 0))),
        holder=str(found.get("holder", ""))[:100],
    )  # fmt: skip


def _refused(status: int, error: str, message: str) -> JSONResponse:
    return JSONResponse({"error": error, "message": message}, status_code=status)


async def _no_such_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _refused(status, "route", "no such route or method")


async def _unexpected(_: Request, error: Exception) -> Response:
    """Answer what nobody foresaw; the server logs the traceback."""
    return _refused(500, "internal", f"{type(error).__name__}; see the supervisor's log")


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
