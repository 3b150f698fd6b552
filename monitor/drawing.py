"""What is asked and when it is enough: batches, sequential tests and release profiles, all by ``run_sweep``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from monitor.errors import NotMeasured
from monitor.measure import Measure, harmful_of, named_release, require_release
from monitor.sentinel import Pair
from monitor.spans import NO_SPANS, Spans, TracedJudge
from probes.attack import Attack
from probes.behavior import Behavior, Partition, Suite
from probes.errors import MixedReleaseError
from probes.estimate import asr_estimate
from probes.judge import Judge
from probes.plan import (
    Cell,
    KeyedDraws,
    KeyedPromptSampler,
    Routine,
    WeightedAttack,
    cells_of,
    plan_cells,
    plan_draws,
    plan_routine,
    plan_sweep,
)
from probes.probe import Probe
from probes.profile import ReleaseProfile, profile_of
from probes.result import ProbeResult, SafetyEstimate, SweepId, SweepResult
from probes.statistics.evalues import Decision, DualEProcessTest, SequentialTest
from probes.sweep import run_sweep
from probes.target import Target

__all__ = ["Test", "ask_each", "cells_in", "draw", "draw_routine", "look", "profile", "sentinel_pairs", "until_decided"]

Test = TypeVar("Test", SequentialTest, DualEProcessTest)
"""A test that says when it is enough."""
Keep = Callable[[SweepResult, str], None]
"""Writes a sweep to the probe log, with its purpose."""

_MISSING_MAX = 0.05


def cells_in(measure: Measure, *parts: Partition) -> tuple[Cell, ...]:
    """Return every behavior of these partitions of the harm suite under every attack."""
    return cells_of(measure.harm.part(*parts, key=measure.site_key), measure.attacks)


async def draw(
    measure: Measure, target: Target, *, n: int, cells: Sequence[Cell], purpose: str, release: str = ""
) -> SweepResult:
    """Ask ``n`` prompts drawn i.i.d. with replacement from these cells.

    Args:
        release: What is said to be in service, for the transcripts of answers that don't name theirs.

    Raises:
        NotMeasured: There is nothing to draw from.
    """

    def planned(sweep: SweepId) -> tuple[Probe, ...]:
        if not cells:
            return ()
        return plan_draws(
            measure.harm, cells, sweep=sweep, sampling=measure.sampling, key=measure.site_key, n=n
        )

    return await _sweep(measure, target, measure.harm, planned, purpose=purpose, release=release)


async def draw_routine(
    measure: Measure, target: Target, *, n: int, routine: Routine, release: str = ""
) -> SweepResult:
    """Ask a routine batch: survey and hunt on rotating prompts, and certified sentinels.

    Raises:
        NotMeasured: The suite has no rotating prompts.
    """
    cells = cells_in(measure, Partition.ROTATING)
    sentinels = _named(measure, routine.sentinels)

    def planned(sweep: SweepId) -> tuple[Probe, ...]:
        if not cells:
            return ()
        return plan_routine(
            measure.harm, cells, sentinels=sentinels, routine=routine, sweep=sweep, sampling=measure.sampling,
            key=measure.site_key, n=n,
        )  # fmt: skip

    return await _sweep(measure, target, measure.harm, planned, purpose="routine", release=release)


async def ask_each(
    measure: Measure, target: Target, pairs: Sequence[tuple[str, str]], *, purpose: str, release: str = ""
) -> SweepResult:
    """Ask each of these behaviors under its attack, once.

    Raises:
        NotMeasured: The suite has none of them.
    """
    drawn = [(cell, "sentinel", 1.0) for cell in _named(measure, pairs)]

    def planned(sweep: SweepId) -> tuple[Probe, ...]:
        return plan_cells(measure.harm, drawn, sweep=sweep, sampling=measure.sampling, key=measure.site_key)

    return await _sweep(measure, target, measure.harm, planned, purpose=purpose, release=release)


def _named(measure: Measure, pairs: Sequence[tuple[str, str]]) -> tuple[Cell, ...]:
    cells = {(c.behavior.id, c.attack.name): c for c in cells_in(measure, Partition.SENTINEL)}
    return tuple(cells[pair] for pair in pairs if pair in cells)


async def until_decided(
    measure: Measure,
    target: Target,
    test: Test,
    *,
    cap: int,
    batch: int,
    cells: Sequence[Cell],
    release: str,
    purpose: str,
    keep: Keep,
    say: Callable[[float], None],
) -> Test:
    """Draw from these cells until the test decides or ``cap`` probes were scored.

    Raises:
        NotMeasured: Over 5 % of the probes are missing, or another release answered.
        MixedReleaseError: Two releases answered in one batch.
    """
    missing = 0
    while test.decision is Decision.CONTINUE and test.n < cap:
        size = min(batch, cap - test.n)
        sweep = await draw(measure, target, n=size, cells=cells, purpose=purpose, release=release)
        require_release(sweep, release)
        keep(sweep, purpose)
        missing += sweep.missing
        for result in sweep.results:
            harmful = harmful_of(result)
            if harmful is not None and test.decision is Decision.CONTINUE:
                test = test.update(harmful, sampled=result.judgement is None or result.judgement.sampled)
        if missing > max(1.0, _MISSING_MAX * (test.n + missing)):
            raise NotMeasured(f"{missing} of {test.n + missing} probes got no usable answer; look at the server")
        say(test.n / cap)
    return test


async def profile(
    measure: Measure, target: Target, release: str, *, keep: Keep, say: Callable[[float], None]
) -> ReleaseProfile:
    """Measure a release on prompts that no recipe and no routine sweep saw.

    Harm: the sealed prompts, each once. Over-refusal: sealed and sentinel prompts. Task: the whole suite.

    Raises:
        NotMeasured: There is no estimate of ASR or over-refusal, or another release answered.
        MixedReleaseError: Two releases answered.
    """
    key = measure.site_key
    plan: list[tuple[Suite, tuple[Behavior, ...]]] = [(measure.harm, measure.harm.part(Partition.SEALED, key=key))]
    plan += [(s, s.part(Partition.SEALED, Partition.SENTINEL, key=key)) for s in measure.benign]
    if measure.task:
        plan.append((measure.task, measure.task.behaviors))
    total, done = sum(len(b) for _, b in plan), 0

    def count(_: ProbeResult) -> None:
        nonlocal done
        done += 1
        say(done / total)

    sweeps: list[SweepResult] = []
    for suite, behaviors in plan:
        plan_all = partial(_each_once, measure, suite, behaviors)
        sweep = await _sweep(measure, target, suite, plan_all, purpose="profile", release=release, on_result=count)
        require_release(sweep, release)
        keep(sweep, "profile")
        sweeps.append(sweep)
    task = sweeps.pop() if measure.task else None
    found = profile_of(release, harm=sweeps[0], benign=sweeps[1:], task=task)
    gaps = [n for n, e in (("ASR", found.asr), ("over-refusal", found.over_refusal)) if e.value is None]
    if found.utility and found.utility.value is None:
        gaps.append("task accuracy")
    if gaps:
        raise NotMeasured(f"release {release}: too many answers are missing for {', '.join(gaps)}")
    return found


async def look(
    measure: Measure, target: Target, suite: Suite, attack: Attack, *, prompts: int, release: str, keep: Keep
) -> SafetyEstimate:
    """Measure ASR under an attack on some of a suite's sealed prompts, the same for every release.

    Returns:
        The estimate; without a value where over 5 % of the prompts got no usable verdict.

    Raises:
        NotMeasured: The suite has no sealed prompts, nothing was answered, or another release answered.
        MixedReleaseError: Two releases answered.
    """
    draws = KeyedDraws(measure.site_key, "gates")
    chosen = sorted(suite.part(Partition.SEALED, key=measure.site_key), key=lambda b: draws.bits(b.id))[:prompts]

    def planned(sweep: SweepId) -> tuple[Probe, ...]:
        if not chosen:
            return ()
        return plan_sweep(
            suite, chosen, sweep=sweep, attacks=(WeightedAttack(attack=attack),), sampling=measure.sampling,
            key=measure.site_key,
        )  # fmt: skip

    sweep = await _sweep(measure, target, suite, planned, purpose="gates", release=release)
    require_release(sweep, release)
    keep(sweep, "gates")
    return asr_estimate(sweep.results)


def _each_once(
    measure: Measure, suite: Suite, behaviors: Sequence[Behavior], sweep: SweepId
) -> tuple[Probe, ...]:
    if not behaviors:
        return ()
    sampling = measure.task_sampling if suite is measure.task else measure.sampling
    return plan_sweep(
        suite, behaviors, sweep=sweep, attacks=_attacks(measure, suite), sampling=sampling, key=measure.site_key
    )


async def _sweep(
    measure: Measure,
    target: Target,
    suite: Suite,
    planned: Callable[[SweepId], tuple[Probe, ...]],
    *,
    purpose: str,
    release: str,
    on_result: Callable[[ProbeResult], None] | None = None,
) -> SweepResult:
    sweep = SweepId(f"{purpose}-{measure.new_id()}")
    judge = measure.task_judge if suite is measure.task and measure.task_judge else measure.judge
    probes = planned(sweep)
    if not probes:
        raise NotMeasured(f"suite {suite.name} has no prompts for {purpose}; use a larger suite")
    answered: list[ProbeResult] = []

    def take(result: ProbeResult) -> None:
        answered.append(result)
        if on_result:
            on_result(result)

    began = measure.clock()
    about = {"alignd.target": target.name, "alignd.suite": suite.name, "alignd.purpose": purpose,
             "alignd.sweep": sweep, "alignd.release": release}  # fmt: skip
    try:
        with measure.spans.span("alignd.probe_batch", about) as span:
            swept = await run_sweep(
                target, _seen(judge, measure.spans), suite, probes, sweep=sweep, clock=measure.clock,
                concurrency=measure.concurrency, deadline_seconds=measure.deadline_seconds, on_result=take,
            )  # fmt: skip
            span.note({"alignd.probes": len(swept.results), "alignd.missing": swept.missing})
    except MixedReleaseError:
        mixed = SweepResult(
            id=sweep, target=target.name, release="", suite=suite.name, suite_sha256=suite.sha256, started_at=began,
            finished_at=measure.clock(), results=tuple(answered),
        )  # fmt: skip
        await measure.recorder.record(mixed, release=release)
        raise
    await measure.recorder.record(swept, release=named_release(swept) or release or swept.release)
    if len(swept.results) < len(probes) and (not swept.results or purpose in {"profile", "gates"}):
        why = {"paused": "probing is paused", "budget": "the day's budget of tokens is used up"}
        raise NotMeasured(f"sweep {sweep}: {why.get(swept.stopped, swept.stopped)}")
    return swept


def _seen(judge: Judge, spans: Spans) -> Judge:
    """Give each call of a judge a span, where there are any."""
    return judge if spans is NO_SPANS else TracedJudge(judge, spans)


def _attacks(measure: Measure, suite: Suite) -> tuple[WeightedAttack, ...]:
    """Harmful requests are dressed; what a model can do under an attack, or refuses then, is another question."""
    if suite is measure.harm:
        return measure.attacks
    plain = (measure.task_attack if suite is measure.task else None) or measure.plain
    return (WeightedAttack(attack=plain),)


def sentinel_pairs(measure: Measure) -> tuple[Pair, ...]:
    """Give each sentinel prompt one attack, by the site's key."""
    draws = KeyedDraws(measure.site_key, "sentinel")
    behaviors = measure.harm.part(Partition.SENTINEL, key=measure.site_key)
    chosen = (KeyedPromptSampler(cells_of([b], measure.attacks), draws).draw(b.id) for b in behaviors)
    return tuple((cell.behavior.id, cell.attack.name) for cell in chosen)
