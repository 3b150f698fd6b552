"""The daemon's HTTP side: metrics, health and status at once, the API when it is first called; all behind the guard.

Who opens the page calls the API next: it is made meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor import metrics
from monitor.api_settings import Scope
from monitor.hook_settings import HooksSettings
from monitor.service import Service
from monitor.status import status_json
from monitor.web.access import CALLER, Access, require
from monitor.web.body import Receive
from monitor.web.calls import CallBook, CallRecord
from monitor.web.guard import App, Guard, Send
from monitor.web.incoming import Scope as Connection
from monitor.web.page import page_routes
from monitor.web.sessions import Sessions

__all__ = ["make_api"]

_STATUS = "/api/v1/status"


def make_api(
    service: Service, *, healthy: Callable[[], bool], access: Access | None = None, hooks: HooksSettings | None = None,
    sweep: Callable[[str], None] = lambda _: None, record: Callable[[CallRecord], None] | None = None,
) -> Guard:  # fmt: skip
    """Return the application.

    Args:
        healthy: Whether the daemon's own loops go round.
        access: Who may call; everybody may read, and only that, where it is not given.
        hooks: What other programs may ask.
        sweep: Has a target's next batch sent now.
        record: Puts down calls that change something, and refused ones; in the log and the audit log if not given.
    """
    who = access or Access()
    sessions = Sessions(clock=service.clock, minutes=who.session_minutes)
    making = list[asyncio.Task[App]]()

    def make() -> App:
        from monitor.web.app import make_app  # 8 MB that a daemon which is only scraped does without

        return make_app(service, access=who, sessions=sessions, sweep=sweep, hooks=hooks or HooksSettings())

    def begin() -> asyncio.Task[App]:
        if not making:
            making.append(asyncio.create_task(asyncio.to_thread(make)))
        return making[0]

    small = _small(service, healthy, page_routes(begin))

    async def dispatch(scope: Connection, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith("/api/") or scope["path"] == _STATUS:
            await small(scope, receive, send)
            return
        app = await asyncio.shield(begin())  # a caller that goes away leaves it to the next one
        await app(scope, receive, send)

    return Guard(dispatch, access=who, sessions=sessions, record=record or CallBook(service.store, clock=service.clock))


def _small(service: Service, healthy: Callable[[], bool], page: Sequence[Route]) -> Starlette:
    """Return what is asked all the time, and the page."""

    async def health(_: Request) -> Response:
        return JSONResponse({"healthy": healthy()}, status_code=200 if healthy() else 503)

    async def status(request: Request) -> Response:
        require(request.scope[CALLER], Scope.READ)
        return JSONResponse(status_json(service))

    async def scrape(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        body, content_type = metrics.render(lambda: status_json(service, series=0), accept)
        return Response(body, headers={"Content-Type": content_type})

    return Starlette(
        routes=[
            Route("/health", health), Route("/healthz", health), Route("/metrics", scrape), Route(_STATUS, status),
            *page,
        ]
    )  # fmt: skip
