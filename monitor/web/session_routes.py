"""Sessions of the page: a token for a cookie, and who is there."""

from __future__ import annotations

from fastapi import APIRouter, Response

from monitor.api_settings import Scope
from monitor.web import models
from monitor.web.access import Access, Caller
from monitor.web.routes import Who, asks
from monitor.web.sessions import Sessions

__all__ = ["make_session_router"]


def make_session_router(access: Access, sessions: Sessions) -> APIRouter:
    """Return the paths of sessions."""
    router = APIRouter(prefix="/api/v1")

    @router.post("/session", status_code=201, **asks(None, body=True))
    async def begin_session(body: models.SessionBody, response: Response) -> models.Session:
        """Open a session of the page: a cookie that scripts can't read, and a word for calls that change something."""
        caller = access.caller_of(body.token, sessions.clock())
        secret, session = sessions.begin(caller)
        response.set_cookie(
            access.cookie, secret, max_age=int((session.expires_at - sessions.clock()).total_seconds()),
            httponly=True, samesite="strict", secure=access.secure, path="/",
        )  # fmt: skip
        return models.Session(
            name=caller.name, scopes=_scopes(caller), expires_at=session.expires_at, csrf=session.csrf
        )

    @router.delete("/session", status_code=204, **asks(None))
    async def end_session(caller: Who, response: Response) -> None:
        """End the session."""
        sessions.end(caller)
        response.delete_cookie(access.cookie, path="/", httponly=True, samesite="strict", secure=access.secure)

    @router.get("/whoami", **asks(None))
    async def who_am_i(caller: Who) -> models.WhoAmI:
        """Say who calls and what they may do."""
        session = sessions.of(caller)
        return models.WhoAmI(
            name=caller.name, scopes=_scopes(caller), expires_at=session.expires_at if session else caller.expires,
            csrf=session.csrf if session else "",
        )  # fmt: skip

    return router


def _scopes(caller: Caller) -> tuple[Scope, ...]:
    return tuple(sorted(caller.scopes))
