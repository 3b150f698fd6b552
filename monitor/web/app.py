"""The API as one FastAPI application. Made at the first call that needs it: decision 12 says what it costs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from deploy.errors import DeployerUnavailable
from monitor import __version__
from monitor.errors import ConfigError, LogFault, StoreError, UnknownIncident
from monitor.hook_settings import HooksSettings
from monitor.service import Service
from monitor.web.access import Access
from monitor.web.hook_routes import make_hook_router
from monitor.web.models import ProblemAnswer
from monitor.web.problems import MEDIA_TYPE, PROBLEM, Fault, Problem, invalid
from monitor.web.routes import Sweeper, make_router
from monitor.web.session_routes import make_session_router
from monitor.web.sessions import Sessions
from monitor.web.transcript_routes import make_transcript_router

__all__ = ["make_app"]

log = logging.getLogger("alignd")

_ABOUT = (
    "Watches served language models for safety drift. A token is sent as `Authorization: Bearer …`; "
    "what is refused is answered with problem details (RFC 9457)."
)
_ALLOWED = ("expected", "pattern", "max_length", "min_length", "le", "ge", "gt", "lt")
_NO_METHOD = 405
_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token that `alignd token new` made."},
    "session": {"type": "apiKey", "in": "cookie", "name": "alignd-session",
                "description": "The page's session; calls that change something say X-CSRF-Token, too."},
}  # fmt: skip


def make_app(
    service: Service, *, access: Access, sessions: Sessions, sweep: Sweeper, hooks: HooksSettings
) -> FastAPI:
    """Return the application. Its OpenAPI document is made when it is asked for."""
    app = FastAPI(
        title="alignd", version=__version__, description=_ABOUT, openapi_url="/api/v1/openapi.json", docs_url=None,
        redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    with _without("pydantic.v1"):
        app.include_router(make_router(service, sweep=sweep))
        app.include_router(make_transcript_router(service))
        app.include_router(make_session_router(access, sessions))
        app.include_router(make_hook_router(service, settings=hooks.alertmanager, sweep=sweep))
    _add_refusals(app)
    make_document = app.openapi

    def document() -> dict[str, Any]:
        found = make_document()
        parts = found.setdefault("components", {})
        parts["securitySchemes"] = _SCHEMES
        parts["schemas"].update(_problem_schema())
        return found

    app.openapi = document  # type: ignore[method-assign]
    return app


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Keep a module that is not loaded from being so: FastAPI asks of each model whether it is one of pydantic 1.

    That would load all of pydantic 1, 2.5 MB, to say no; where it is missing, FastAPI takes that for the answer.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what the import system takes for "there is none"
    try:
        yield
    finally:
        del sys.modules[name]


def _problem_schema() -> dict[str, Any]:
    whole = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**whole.pop("$defs"), "ProblemAnswer": whole}


def _add_refusals(app: FastAPI) -> None:
    """Answer every error with problem details."""

    def say(kind: type[Exception], found: Any) -> None:  # noqa: ANN401  (one function for each kind)
        async def answer(request: Request, error: Exception) -> Response:
            problem: Problem = found(error)
            if problem.status == _NO_METHOD:
                problem.headers = {"Allow": ", ".join(_methods(app, request.url.path))}
            request.scope[PROBLEM] = problem
            return Response(problem.body(), problem.status, dict(problem.headers), MEDIA_TYPE)

        app.add_exception_handler(kind, answer)

    say(Problem, lambda error: error)
    say(RequestValidationError, _of_validation)
    say(HTTPException, _of_http)
    say(UnknownIncident, lambda e: Problem(status=404, kind="unknown-incident", title="Not found", detail=f"{e}"))
    say(ConfigError, lambda e: Problem(status=409, kind="conflict", title="It means nothing now", detail=f"{e}"))
    say(LogFault, lambda e: Problem(status=409, kind="log-fault", title="The log can't be read", detail=f"{e}"))
    say(StoreError, _of_store)
    say(DeployerUnavailable, lambda e: Problem(
        status=503, kind="deployer", title="The serving side does not answer", detail=f"{e}"))  # fmt: skip
    say(Exception, lambda _: Problem(
        status=500, kind="fault", title="A fault of alignd", detail="the daemon's log says more; the call did nothing, "
        "or all that it should"))  # fmt: skip


def _methods(app: FastAPI, path: str) -> list[str]:
    """Return what a path takes: a route of its own for each method would else be named alone."""
    found = (r.methods for r in app.routes if isinstance(r, Route) and r.path_regex.match(path))
    return sorted({method for methods in found for method in methods or ()})


def _of_validation(error: RequestValidationError) -> Problem:
    """Say which fields can't be taken, without what was given: it may be a token."""
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return Problem(
            status=400, kind="no-json", title="Not well formed", detail="the body is no valid JSON; send one object"
        )
    return invalid(*(_fault(e) for e in found))


def _fault(error: dict[str, Any]) -> Fault:
    context = error.get("ctx", {})
    allowed = "; ".join(f"{k.replace('_', ' ')} {context[k]}" for k in _ALLOWED if k in context)
    return Fault(
        field=".".join(map(str, error["loc"])), problem=error["msg"][:1].lower() + error["msg"][1:],
        allowed=allowed.removeprefix("expected "),
    )  # fmt: skip


def _of_store(error: StoreError) -> Problem:
    """Say what to do. What went wrong names the store's host and user, which are the log's business."""
    log.warning("api_without_store", extra={"why": str(error)})
    return Problem(
        status=503, kind="store", title="The store can't do it now",
        detail="the store is away, locked or full, or somebody was quicker; call again, the daemon's log says more",
    )  # fmt: skip


def _of_http(error: HTTPException) -> Problem:
    words = {
        404: ("not-found", "there is no such path; /api/v1/openapi.json lists them"),
        405: ("method", "this path does not take that method; the header Allow says which it takes"),
    }
    kind, detail = words.get(error.status_code, ("refused", str(error.detail)))
    return Problem(
        status=error.status_code, kind=kind, title=str(error.detail), detail=detail, headers=dict(error.headers or {})
    )
