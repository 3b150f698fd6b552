"""Transcripts as the API shows them: redacted, a page at a time, read beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from monitor.incident import Incident
from monitor.service import Service
from monitor.site import Site
from monitor.web.transcript_models import RedactedAnswer, RedactedMessage, RedactedTranscript, Transcripts
from monitor.web.views import Views
from probes.behavior import Suite, SuiteKind
from probes.transcripts.page import Page, Place, Wanted, read_page
from probes.transcripts.record import Keep, Transcript
from probes.transcripts.redacted import redacted
from probes.transcripts.store import TranscriptStore

__all__ = ["Shown", "TranscriptViews"]

_NAME_MAX = 200
"""A server names its release itself, and could write an answer there."""
_ON_DEMAND = "on-demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Which probes to show; what is empty says nothing.

    Attributes:
        before: Where the page begins; at the newest where it is not given.
        limit: At most so many.
    """

    purpose: str = ""
    verdict: str = ""
    kind: SuiteKind | None = None
    stratum: str = ""
    sweep: str = ""
    since: datetime | None = None
    before: Place | None = None
    limit: int = 50


class TranscriptViews:
    """Reads of the transcripts."""

    def __init__(self, service: Service) -> None:
        """Take the service whose targets they are of."""
        self._service = service
        self._views = Views(service)

    async def of_target(self, name: str, asked: Shown) -> Transcripts:
        """Return a page of a target's.

        Raises:
            Problem: There is no such target.
            TranscriptError: They can't be read.
        """
        self._views.require(name)
        return await asyncio.to_thread(self._page, name, asked)

    async def of_incident(self, name: str, asked: Shown) -> Transcripts:
        """Return a page of an incident's: from the begin of the epoch in which it was found to its end.

        Raises:
            UnknownIncident: There is none of this id.
            TranscriptError: They can't be read.
        """
        found = self._service.store.load(name)
        return await asyncio.to_thread(self._page, found.target, asked, found)

    def _page(self, target: str, asked: Shown, incident: Incident | None = None) -> Transcripts:
        site = self._service.sites.get(target)
        any_site = site or next(iter(self._service.sites.values()))  # all keep theirs in one folder
        store, failed = any_site.measure.recorder.store, site.measure.recorder.failed if site else 0
        since = max((t for t in (asked.since, self._begin(incident)) if t), default=None)
        until = incident.events[-1].at if incident and incident.closed else None
        suites = _suites(site) if site else {}
        page = _read(store, _wanted(target, asked, since, until, suites), asked)
        return Transcripts(
            target=target, incident=incident.id if incident else "", keep=store.keep if store else Keep.NOTHING,
            days=store.days if store else 0, oldest=page.oldest, since=since, until=until, failed=failed,
            damaged=page.damaged, before=str(page.following) if page.following else None,
            transcripts=tuple(_said(t, store, suites) for t in page.transcripts if store),
        )  # fmt: skip

    def _begin(self, incident: Incident | None) -> datetime | None:
        if incident is None:
            return None
        number = incident.facts.get("evidence", {}).get("epoch")
        epoch = self._service.store.epoch_of(number) if number is not None else None
        return epoch.started_at if epoch else incident.opened_at


def _read(store: TranscriptStore | None, wanted: Wanted, asked: Shown) -> Page:
    if store is None:
        return Page(transcripts=(), following=None, damaged=0, oldest=None)
    return read_page(store.folder, wanted, most=asked.limit, before=asked.before)


def _wanted(
    target: str, asked: Shown, since: datetime | None, until: datetime | None, suites: Mapping[str, Suite]
) -> Wanted:
    named = {"target": target, "verdict": asked.verdict, "sweep": asked.sweep}

    def fits(t: Transcript) -> bool:
        suite = suites.get(t.suite)
        of_kind = asked.kind is None or (suite is not None and suite.kind is asked.kind)
        of_stratum = asked.stratum in {"", f"{_category(t, suites)}/{t.attack}"}
        return of_kind and of_stratum

    begins = {"sweep": f"{asked.purpose}-"} if asked.purpose else {}
    given = {k: v for k, v in named.items() if v}
    return Wanted(named=given, begins=begins, since=since, until=until, fits=fits)


def _purpose(transcript: Transcript) -> str:
    """Return what a probe was asked for: its sweep's id begins with it."""
    return _ON_DEMAND if transcript.sweep.startswith(_ON_DEMAND) else transcript.sweep.partition("-")[0]


def _suites(site: Site) -> Mapping[str, Suite]:
    """Return the suites that a target is asked, by name."""
    measure = site.measure
    asked = (measure.harm, *measure.benign, *([measure.task] if measure.task else []), *site.gate_looks.suites)
    return {s.name: s for s in asked}


def _category(t: Transcript, suites: Mapping[str, Suite]) -> str:
    suite = suites.get(t.suite)
    return next((b.category for b in suite.behaviors if b.id == t.behavior), "") if suite else ""


def _said(t: Transcript, store: TranscriptStore, suites: Mapping[str, Suite]) -> RedactedTranscript:
    known, suite = redacted(t, store.ring), suites.get(t.suite)
    answer = RedactedAnswer(digest=t.answer, characters=known.answer, finish_reason=known.finish_reason)
    return RedactedTranscript(
        probe=t.probe, sweep=t.sweep, purpose=_purpose(t), at=t.at, release=t.release[:_NAME_MAX], suite=t.suite,
        kind=suite.kind if suite else None, category=_category(t, suites), attack=t.attack, verdict=t.verdict,
        score=t.score, judge=t.judge, missing=t.missing, texts=known.texts, key=t.key,
        prompt=tuple(RedactedMessage(role=role, digest=digest) for role, digest in t.prompt),
        answer=answer if t.answer else None, left_out=known.left_out,
    )  # fmt: skip
