"""The supervisor's admin application: what the deployer calls, behind a token that only its owner can read."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deploy.errors import CheckpointError, DeployerUnavailable, StageError

__all__ = ["Verbs", "admin", "admin_token"]

_TOKEN_LENGTH_MIN = 32


class Verbs(Protocol):
    """What the application passes on."""

    def state(self) -> dict[str, object]:
        """Say what is up."""
        ...

    async def stage(self, release_id: str) -> dict[str, object]:
        """Bring a release up without traffic."""
        ...

    async def promote(self, release_id: str) -> dict[str, object]:
        """Give a release all new traffic."""
        ...

    async def retire(self, release_id: str) -> dict[str, object]:
        """Drain and stop a release."""
        ...

    async def metrics(self) -> str | None:
        """Return the active server's own metrics; ``None`` where there is none."""
        ...


def admin(supervisor: Verbs, token: str) -> Starlette:
    """Return the admin application; every call needs the token, but for the active server's ``/metrics``."""

    def route(path: str, method: str, verb: Callable[[str], Awaitable[dict[str, object]]]) -> Route:
        async def endpoint(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), token.encode()):
                return JSONResponse({"error": "token", "message": "wrong or missing token"}, status_code=401)
            try:
                release = str((await request.json())["release"]) if method == "POST" else ""
                return JSONResponse(await verb(release))
            except (ValueError, KeyError, TypeError):
                return JSONResponse({"error": "request", "message": 'send {"release": ID}'}, status_code=400)
            except CheckpointError as error:
                return JSONResponse({"error": "checkpoint", "message": str(error)}, status_code=409)
            except StageError as error:
                return JSONResponse({"error": "stage", "message": str(error)}, status_code=409)
            except DeployerUnavailable as error:
                return JSONResponse({"error": "front", "message": str(error)}, status_code=503)

        return Route(path, endpoint, methods=[method])

    async def state(_: str) -> dict[str, object]:
        return supervisor.state()

    async def metrics(_: Request) -> Response:
        page = await supervisor.metrics()
        return PlainTextResponse("no release is active\n", status_code=503) if page is None else PlainTextResponse(page)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            route("/state", "GET", state),
            route("/stage", "POST", supervisor.stage),
            route("/promote", "POST", supervisor.promote),
            route("/retire", "POST", supervisor.retire),
        ]
    )


def admin_token(state: Path) -> str:
    """Read the admin token from the state folder; made at the first start, readable by its owner only.

    One that is cut short, by a full disk say, is made anew: an empty one would let everybody in.
    """
    file = state / "admin-token"
    token = file.read_text().strip() if file.exists() else ""
    if len(token) >= _TOKEN_LENGTH_MIN:
        return token
    token, scratch = secrets.token_urlsafe(32), state / "admin-token.partial"
    scratch.unlink(missing_ok=True)
    opened = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w") as out:
        out.write(token)
        out.flush()
        os.fsync(out.fileno())
    scratch.rename(file)
    return token
