"""The paths of the API. Each parses, calls the service once, and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from monitor.api_settings import Scope
from monitor.moments import bounded
from monitor.service import Service
from monitor.status import verdict_json
from monitor.store import Pause
from monitor.web import models
from monitor.web.access import CALLER, Caller, require
from monitor.web.problems import MEDIA_TYPE, Fault, Problem, invalid
from monitor.web.views import Views

__all__ = ["Asked", "IncidentName", "Sweeper", "TargetName", "Who", "asks", "make_router"]

Sweeper = Callable[[str], None]
"""Has a target's next batch sent now."""

TargetName = Annotated[str, Path(max_length=60, description="A watched target.")]
IncidentName = Annotated[str, Path(max_length=120, description="An incident's id.")]


class Asked(BaseModel):
    """What a path takes in its query, and nothing beside."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IncidentsQuery(Asked):
    """Which incidents to list."""

    target: str = Field(default="", max_length=60, description="Of this target only.")
    open: bool = Field(default=False, description="Only those that have not ended.")
    limit: int = Field(default=50, ge=1, le=200, description="At most so many, and whatever else is open.")


class VerdictQuery(Asked):
    """Which target to judge."""

    target: str = Field(min_length=1, max_length=60, description="A watched target.")


async def caller_of(request: Request) -> Caller:
    """Return who calls, as the guard found it.

    A coroutine, as is all that a call passes through: the first other function starts a thread, which costs 5 MB.
    """
    found: Caller = request.scope[CALLER]
    return found


Who = Annotated[Caller, Depends(caller_of)]

_REFUSALS = {
    400: "The call is not well formed.", 401: "No token, or none that is known.", 403: "The token lacks a scope.",
    404: "There is no such thing.", 409: "It means nothing in its present state.", 413: "The body is too large.",
    408: "The body came too slowly.", 415: "The body is no JSON.", 422: "A field can't be taken.",
    421: "The host is no name of the daemon.", 429: "Too many calls; Retry-After says when to call again.",
    503: "It can't be read or found out now.",
}  # fmt: skip
_ALWAYS = (400, 401, 403, 421, 422, 429)
_WITH_BODY = (408, 413, 415)
_SCHEMA = {"$ref": "#/components/schemas/ProblemAnswer"}


def asks(scope: Scope | None, *refusals: int, body: bool = False) -> dict[str, Any]:
    """Return what a path asks for and may refuse, as FastAPI takes it.

    Args:
        scope: Needed to call it; ``None`` where any token does.
        refusals: Statuses beside those of every path.
        body: Whether it takes one.
    """

    async def granted(caller: Who) -> None:
        if scope is not None:
            require(caller, scope)

    statuses = sorted({*_ALWAYS, *refusals, *(_WITH_BODY if body else ())})
    scopes = [scope.value] if scope else []
    return {
        "dependencies": [Depends(granted)],
        "responses": {s: {"description": _REFUSALS[s], "content": {MEDIA_TYPE: {"schema": _SCHEMA}}} for s in statuses},
        "openapi_extra": {"security": [{"token": scopes}, {"session": scopes}]},
    }


def make_router(service: Service, *, sweep: Sweeper) -> APIRouter:
    """Return the paths that see and change targets and incidents."""
    router, views = APIRouter(prefix="/api/v1"), Views(service)
    _add_reads(router, service, views)
    _add_changes(router, service, views, sweep)
    return router


def _add_reads(router: APIRouter, service: Service, views: Views) -> None:
    @router.get("/targets", **asks(Scope.READ))
    async def list_targets() -> models.Targets:
        """List the watched targets: verdict, evidence, release, incident."""
        return views.targets()

    @router.get("/targets/{name}", **asks(Scope.READ, 404))
    async def get_target(name: TargetName) -> models.TargetDetail:
        """Say all about one target."""
        return views.target(name)

    @router.get("/targets/{name}/evidence", **asks(Scope.READ, 404))
    async def get_evidence(name: TargetName) -> models.EvidenceSeries:
        """Return the evidence over the present epoch's probes, against its thresholds; at most 500 points."""
        return await views.evidence(name)

    @router.get("/incidents", **asks(Scope.READ, 404))
    async def list_incidents(asked: Annotated[IncidentsQuery, Query()]) -> models.Incidents:
        """List incidents, newest first, and all open ones among them."""
        return views.incidents(target=asked.target, open_only=asked.open, limit=asked.limit)

    @router.get("/incidents/{incident}", **asks(Scope.READ, 404))
    async def get_incident(incident: IncidentName) -> models.IncidentDetail:
        """Say all about one incident: timeline, repairs with their gates, releases, what may be ordered."""
        return views.incident(incident)

    @router.get("/incidents/{incident}/plan", **asks(Scope.READ, 404, 409))
    async def get_plan(incident: IncidentName) -> models.Plan:
        """Say what would be done about an incident from here, and which rails stand; does nothing of it."""
        return await views.plan(incident)

    @router.get("/verdict", **asks(Scope.READ, 404))
    async def get_verdict(asked: Annotated[VerdictQuery, Query()]) -> models.Verdict:
        """Say safe, unsafe or inconclusive, for a pipeline's gate. No data is never safe."""
        views.require(asked.target)
        return models.Verdict.model_validate(verdict_json(service, asked.target))


def _add_changes(router: APIRouter, service: Service, views: Views, sweep: Sweeper) -> None:
    @router.post("/targets/{name}/pause", **asks(Scope.OPERATE, 404, body=True))
    async def pause_target(name: TargetName, body: models.PauseBody, caller: Who) -> models.PausedUntil:
        """Send a target no more probes; in place of an earlier pause of it."""
        views.require(name)
        at = service.clock()
        if body.until and body.until <= at:
            raise invalid(Fault(field="body.until", problem="lies in the past", allowed="a later time, or null"))
        try:
            until = bounded(body.until) if body.until else None
        except ValueError as error:
            raise invalid(Fault(field="body.until", problem=f"{error}", allowed="null, for good")) from None
        service.store.pause(Pause(target=name, until=until, by=caller.name, at=at, why=body.reason))
        return views.paused(name)

    @router.delete("/targets/{name}/pause", **asks(Scope.OPERATE, 404))
    async def resume_target(name: TargetName, caller: Who) -> models.PausedUntil:
        """Probe a target again."""
        views.require(name)
        service.store.resume(name, by=caller.name, at=service.clock())
        return views.paused(name)

    @router.post("/targets/{name}/quarantine/lift", status_code=202, **asks(Scope.OPERATE, 404, 409, 503, body=True))
    async def lift_quarantine(name: TargetName, body: models.LiftBody, caller: Who) -> models.LiftPlaced:
        """Let users have the release again that a quarantine keeps from them; the daemon does it within seconds."""
        views.require(name)
        lift, release = await service.lifting.place(name, by=caller.name, why=body.reason)
        return models.LiftPlaced(
            target=name, release=release, incident=lift.incident, by=lift.by, at=lift.at, why=lift.why
        )

    @router.post("/targets/{name}/sweep", status_code=202, **asks(Scope.OPERATE, 404, 409))
    async def sweep_target(name: TargetName) -> models.SweepAsked:
        """Send a target's next batch of probes now."""
        views.require(name)
        if pause := views.paused(name).paused:
            raise Problem(
                status=409, kind="paused", title="The target is paused",
                detail=f"target {name} is {pause.words}; resume it first",
            )  # fmt: skip
        sweep(name)
        return models.SweepAsked(target=name, asked_at=service.clock())

    @router.post("/incidents/{incident}/orders", status_code=202, **asks(Scope.APPROVE, 404, 409, body=True))
    async def order(incident: IncidentName, body: models.OrderBody, caller: Who) -> models.OrderPlaced:
        """Put a person's word on the book; the daemon does it within seconds."""
        loaded = service.order(incident, body.order, by=caller.name)
        return models.OrderPlaced(incident=incident, order=body.order, by=caller.name, state=loaded.state)
