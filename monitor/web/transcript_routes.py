"""The paths that show transcripts: redacted, and each call put down in the audit log."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, Field

from monitor.api_settings import Scope
from monitor.service import Service
from monitor.web.calls import PUT_DOWN
from monitor.web.problems import Problem
from monitor.web.routes import Asked, IncidentName, TargetName, asks
from monitor.web.transcript_models import Transcripts
from monitor.web.transcripts import Shown, TranscriptViews
from probes.behavior import SuiteKind
from probes.errors import TranscriptError
from probes.transcripts.page import PLACE, Place

__all__ = ["make_transcript_router"]


class TranscriptsQuery(Asked):
    """Which probes to show."""

    purpose: str = Field(default="", max_length=40, description="Asked for this: routine, confirm, profile, …")
    verdict: Literal["", "harmful", "safe", "unscored", "missing"] = Field(default="", description="Judged so.")
    kind: SuiteKind | None = Field(default=None, description="Of suites of this kind: verdicts count in harm alone.")
    stratum: str = Field(default="", max_length=200, description="Of one category under one attack: CATEGORY/ATTACK.")
    sweep: str = Field(default="", max_length=120, description="Of this sweep.")
    since: AwareDatetime | None = Field(default=None, description="Of sweeps that ended then or later.")
    before: str = Field(default="", pattern=f"^({PLACE})?$", description="What the page before this one said.")
    limit: int = Field(default=50, ge=1, le=100, description="At most so many.")

    def shown(self) -> Shown:
        """Return it as the views take it."""
        place = Place.of(self.before) if self.before else None
        return Shown(
            purpose=self.purpose, verdict=self.verdict, kind=self.kind, stratum=self.stratum, sweep=self.sweep,
            since=self.since, before=place, limit=self.limit,
        )  # fmt: skip


Wanted = Annotated[TranscriptsQuery, Query()]


async def put_down(request: Request) -> None:
    """Have a call put down as those are that change something: who looked at which transcripts is to be known."""
    request.scope[PUT_DOWN] = True


def make_transcript_router(service: Service) -> APIRouter:
    """Return the paths that show transcripts."""
    router, views = APIRouter(prefix="/api/v1", dependencies=[Depends(put_down)]), TranscriptViews(service)

    @router.get("/targets/{name}/transcripts", **asks(Scope.READ, 404, 503))
    async def list_target_transcripts(name: TargetName, asked: Wanted) -> Transcripts:
        """List a target's probes with their verdicts, newest first; of an answer only how long it is."""
        return await _told(views.of_target(name, asked.shown()))

    @router.get("/incidents/{incident}/transcripts", **asks(Scope.READ, 404, 503))
    async def list_incident_transcripts(incident: IncidentName, asked: Wanted) -> Transcripts:
        """List the probes behind an incident and of its repairs, newest first; of an answer only how long it is."""
        return await _told(views.of_incident(incident, asked.shown()))

    return router


async def _told(found: Awaitable[Transcripts]) -> Transcripts:
    try:
        return await found
    except TranscriptError as error:
        raise Problem(
            status=503, kind="transcripts", title="The transcripts can't be read", detail=str(error)
        ) from error
