"""Ask the sections of an audit, one after another; what was answered before a kill is not asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from monitor.audits.request import AuditRequest
from monitor.audits.sections import Section
from monitor.errors import NotMeasured
from monitor.measure import Measure
from monitor.site import Say
from probes.errors import MixedReleaseError, RecordError
from probes.plan import plan_sweep
from probes.probe import Probe, ProbeId
from probes.record import SweepRecord
from probes.result import ProbeResult, SweepId, SweepResult
from probes.sweep import run_sweep
from probes.target import Target

__all__ = ["ask_sections", "probes_of"]

_DEADLINE_SECONDS = 6 * 3600.0
"""Of a section: an audit gives way to users, and what a busy server leaves unanswered would be missing."""
_WHY = {"paused": "probing is paused", "budget": "the day's budget of tokens is used up"}


def probes_of(section: Section, request: AuditRequest, *, key: str) -> tuple[Probe, ...]:
    """Return a section's probes: each prompt once. Attacks and seeds follow from the request's seed alone."""
    planned = plan_sweep(
        section.suite, section.behaviors, sweep=SweepId(f"audit/{request.seed}"), attacks=section.attacks,
        sampling=section.sampling, key=key,
    )  # fmt: skip
    sweep = _sweep_id(request, section)
    return tuple(replace(p, id=ProbeId(f"{sweep}/{i:04d}")) for i, p in enumerate(planned))


async def ask_sections(
    request: AuditRequest,
    sections: Sequence[Section],
    measure: Measure,
    target: Target,
    folder: Path,
    *,
    say: Say = lambda _what, _share: None,
) -> tuple[SweepResult, ...]:
    """Ask all sections of one release.

    Args:
        folder: Keeps a record of each section; a section that is in it goes on.

    Raises:
        NotMeasured: Probing was paused or held back, or nothing answers; the audit goes on when it is run again.
        MixedReleaseError: Two releases answered; the audit has to begin anew.
        RecordError: A record can't be written, or was made with other settings.
    """
    plans = [probes_of(s, request, key=measure.site_key) for s in sections]
    total, done = sum(map(len, plans)), 0
    sweeps: list[SweepResult] = []
    for section, probes in zip(sections, plans, strict=True):

        def take(_: ProbeResult, name: str = section.suite.name) -> None:
            nonlocal done
            done += 1
            say(f"audit {name}", min(done / total, 1.0))

        record = folder / f"{len(sweeps)}.jsonl"
        sweep = await _ask(request, section, probes, measure=measure, target=target, record=record, take=take)
        sweeps.append(sweep)
        done = sum(map(len, plans[: len(sweeps)]))
        releases = sorted({s.release for s in sweeps if s.release})
        if len(releases) > 1:
            raise MixedReleaseError(f"audit {request.id}: {' and '.join(releases)} answered; begin it anew")
    return tuple(sweeps)


async def _ask(
    request: AuditRequest,
    section: Section,
    probes: Sequence[Probe],
    *,
    measure: Measure,
    target: Target,
    record: Path,
    take: Callable[[ProbeResult], None],
) -> SweepResult:
    sweep, began = _sweep_id(request, section), measure.clock()
    header = {"audit": request.id, "target": request.target, "seed": request.seed, **section.way}
    kept = SweepRecord(record, header, probes, texts=False)
    fresh: list[ProbeResult] = []

    def keep(result: ProbeResult) -> None:
        kept.add(result)
        fresh.append(result)
        take(result)

    try:
        for known in kept.known.values():
            take(known)
        swept = await run_sweep(
            target, section.judge, section.suite, probes, sweep=sweep, clock=measure.clock,
            concurrency=measure.concurrency, deadline_seconds=max(measure.deadline_seconds, _DEADLINE_SECONDS),
            on_result=keep, known=kept.known,
        )  # fmt: skip
    except* RecordError as group:
        raise group.exceptions[0] from None
    finally:
        kept.close()
        asked = SweepResult(
            id=sweep, target=request.target, release=_release(fresh), suite=section.suite.name,
            suite_sha256=section.suite.sha256, started_at=began, finished_at=measure.clock(), results=tuple(fresh),
        )  # fmt: skip
        await measure.recorder.record(asked, release=asked.release)
    if swept.stopped or len(swept.results) < len(probes):
        why = _WHY.get(swept.stopped, swept.stopped or "cut off")
        raise NotMeasured(
            f"audit {request.id}, suite {section.suite.name}: {why} after "
            f"{len(swept.results)} of {len(probes)} prompts; it goes on when it is run again"
        )
    return swept


def _release(results: Sequence[ProbeResult]) -> str:
    return next((r.completion.release for r in results if r.completion and r.completion.release), "")


def _sweep_id(request: AuditRequest, section: Section) -> SweepId:
    return SweepId(f"audit-{request.id}-{section.suite.name}")
