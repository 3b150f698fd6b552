"""What must hold when all is over: who answered users, what runs, and what lies in the store."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import typer

from deploy.record import read_record
from monitor.commands.releases import verify
from monitor.incident import Incident, State
from tests.kills_site import KillSite
from tests.processes import in_session
from tests.traffic import Answer
from tests.units import children, marked

__all__ = ["Term", "leftovers", "terms_of", "wrong_answers"]

_SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """When a release may answer, by ``time.time()``: what is sent before its end, and answered after its start."""

    since: float = 0.0
    until: float = float("inf")


def terms_of(incident: Incident, *, good: str, hold: bool) -> dict[str, Term]:
    """Say who may answer: the good release always, the drifted one until it is contained, the accepted one from then.

    Each event is noted after its effect, and the effect of the next state begins after it.
    """
    contained = _first(incident, State.CONFIRMING if hold else State.PATCHING)
    accepted = _last(incident, State.AWAITING_APPROVAL)
    return {
        good: Term(), incident.release: Term(until=contained or float("inf")),
        **({incident.candidate: Term(since=accepted)} if incident.candidate and accepted else {}),
    }  # fmt: skip


def wrong_answers(answers: Iterable[Answer], terms: Mapping[str, Term]) -> list[str]:
    """Return what was answered by a release that must not have; one for each answer."""
    clock = time.time() - time.monotonic()
    found = []
    for answer in answers:
        if answer.status != 200:
            continue
        term = terms.get(answer.release)
        sent, ended = answer.sent_at + clock, answer.ended_at + clock
        if term is None or sent > term.until or ended < term.since:
            said = "never may" if term is None else f"may from {term.since:.3f} to {term.until:.3f}"
            found.append(f"{answer.release or 'nobody'} answered what was sent {sent:.3f} at {ended:.3f}; it {said}")
    return found


async def leftovers(
    site: KillSite, *, active: str, allowed: Collection[str], seconds: float = _SETTLE_SECONDS
) -> list[str]:
    """Return what is not as it must be, once nothing moves any more.

    Args:
        active: The release that must serve.
        allowed: Others that may be up.
        seconds: Until which it must be so.
    """
    end = time.monotonic() + seconds
    while (found := [fault async for fault in _running(site, active, allowed)]) and time.monotonic() < end:
        await asyncio.sleep(0.5)
    return [*found, *_lying(site, active)]


async def _running(site: KillSite, active: str, allowed: Collection[str]) -> AsyncIterator[str]:
    state = await site.state()
    if state is None:
        yield "the supervisor does not say what is served"
        return
    up = {served.release for served in state.up}
    if state.active != active:
        yield f"{state.active or 'nothing'} is active instead of {active}"
    elif (answered := await site.answers()) != {active}:
        yield f"users are answered by {answered} instead of {active}"
    if not up <= {active, *allowed}:
        yield f"up are {sorted(up)}, and {sorted({active, *allowed})} may be"
    servers = children(site.units["supervisor"].pid)
    if servers and len(servers) != len(up):
        yield f"{len(servers)} servers run for {len(up)} releases"
    for session in site.sessions - set(servers):
        if rest := in_session(session):
            yield f"of server {session}, which is gone, there are still {rest}"
    known = {pid for unit in site.units.values() for pid in _descendants(unit.pid)}
    for pid, command in marked(site.mark).items():
        if pid not in known:
            yield f"process {pid} has no owner any more: {command[:150]}"


def _lying(site: KillSite, active: str) -> Iterator[str]:
    record = read_record(site.folder / "state" / "desired.json")
    if record.desired != active:
        yield f"{record.desired} is to be served according to desired.json, not {active}"
    if scratch := sorted(p.name for p in site.releases.rglob("*.partial")):
        yield f"half-written in the store: {scratch}"
    work = site.releases / ".work"
    if work.is_dir() and (rest := sorted(p.name for p in work.iterdir())):
        yield f"left in .work: {rest}"
    if scratch := sorted(p.name for p in (site.folder / "state").glob(".*.partial")):
        yield f"half-written beside desired.json: {scratch}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            verify(None, site.config)
    except typer.Exit:
        yield f"alignd releases verify: {said.getvalue()}"


def _descendants(pid: int) -> set[int]:
    return {pid, *(d for c in children(pid) for d in _descendants(c))} if pid else set()


def _first(incident: Incident, state: State) -> float:
    return next((_at(e.at) for e in incident.events if e.state is state), 0.0)


def _last(incident: Incident, state: State) -> float:
    return next((_at(e.at) for e in reversed(incident.events) if e.state is state), 0.0)


def _at(moment: datetime) -> float:
    return moment.timestamp()
