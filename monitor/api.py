"""The HTTP API: metrics, health, status and verdict; read-only."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor import metrics
from monitor.errors import UnknownIncident
from monitor.service import Service
from monitor.status import incident_json, status_json, verdict_json

__all__ = ["make_api"]


def make_api(service: Service, *, healthy: Callable[[], bool]) -> Starlette:
    """Return the application.

    Args:
        healthy: Whether the daemon's own loops go round.
    """

    async def health(_: Request) -> Response:
        return JSONResponse({"healthy": healthy()}, status_code=200 if healthy() else 503)

    async def status(_: Request) -> Response:
        return JSONResponse(status_json(service))

    async def scrape(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        body, content_type = metrics.render(lambda: status_json(service, series=0), accept)
        return Response(body, headers={"Content-Type": content_type})

    async def verdict(request: Request) -> Response:
        name = request.query_params.get("target", "")
        if name not in service.sites:
            known = ", ".join(service.sites)
            return JSONResponse({"error": f"no target {name!r}; there are: {known}"}, status_code=404)
        return JSONResponse(verdict_json(service, name))

    async def incident(request: Request) -> Response:
        try:
            found = service.store.load(request.path_params["id"])
        except UnknownIncident as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        return JSONResponse(incident_json(found, service.clock()))

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/metrics", scrape),
            Route("/api/v1/status", status),
            Route("/api/v1/verdict", verdict),
            Route("/api/v1/incidents/{id}", incident),
        ]
    )
