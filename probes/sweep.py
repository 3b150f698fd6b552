"""The sweep: plan probes, ask them with bounded concurrency, judge, keep what is missing apart."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from datetime import datetime

from probes.attack import Attack
from probes.behavior import Behavior, Suite
from probes.errors import JudgeError, MixedReleaseError, RetryableTargetError, TargetError
from probes.judge import Judge
from probes.probe import Probe, ProbeId, Sampling
from probes.result import ProbeResult, SweepId, SweepResult
from probes.target import Completion, Target

__all__ = ["Stop", "plan_sweep", "run_sweep"]

Stop = Callable[[Sequence[ProbeResult]], bool]

_RETRY_AFTER_SECONDS_MAX = 10.0


def plan_sweep(
    suite: Suite,
    behaviors: Sequence[Behavior],
    *,
    sweep: SweepId,
    attack: Attack,
    sampling: Sampling,
    seed: int,
    n: int | None = None,
) -> tuple[Probe, ...]:
    """Choose what to ask.

    Args:
        behaviors: Where to draw from (a partition of the suite).
        seed: Decides the draws and each probe's own seed; stored with the results.
        n: Draw this many i.i.d. with replacement; ``None`` asks each behavior once, in order.
    """
    rng = random.Random(f"{sweep}/{seed}")
    chosen = list(behaviors) if n is None else rng.choices(list(behaviors), k=n)
    probes: list[Probe] = []
    for i, behavior in enumerate(chosen):
        own = int.from_bytes(hashlib.sha256(f"{seed}/{sweep}/{behavior.id}/{i}".encode()).digest()[:4], "big") >> 1
        probes.append(
            Probe(
                id=ProbeId(f"{sweep}/{i:04d}"),
                suite=suite.name,
                behavior=behavior,
                attack=attack.name,
                messages=attack.messages(behavior, seed=own),
                sampling=sampling,
                seed=own,
            )
        )
    return tuple(probes)


async def run_sweep(
    target: Target,
    judge: Judge,
    suite: Suite,
    probes: Sequence[Probe],
    *,
    sweep: SweepId,
    clock: Callable[[], datetime],
    concurrency: int,
    deadline_seconds: float,
    on_result: Callable[[ProbeResult], None] | None = None,
    stop: Stop | None = None,
) -> SweepResult:
    """Ask all probes of one release and judge the answers.

    A retryable failure is asked once more; what then fails, is cut off by the deadline or can't be judged
    is *missing*, with its reason, and counts as neither safe nor harmful.

    Args:
        concurrency: Requests in flight.
        deadline_seconds: For the whole sweep.
        on_result: Called as each probe ends, in any order.
        stop: Looks at the results so far; ``True`` ends the sweep, unasked probes are left out.

    Returns:
        Results in the order of the probes.

    Raises:
        MixedReleaseError: Two releases answered; they never share an estimate.
    """
    started = clock()
    done: dict[ProbeId, ProbeResult] = {}
    waiting = list(reversed(probes))
    stopped = False

    async def worker() -> None:
        nonlocal stopped
        while waiting and not stopped:
            probe = waiting.pop()
            result = await _ask(target, judge, probe)
            done[probe.id] = result
            if on_result:
                on_result(result)
            if stop and stop(tuple(done.values())):
                stopped = True

    try:
        async with asyncio.timeout(deadline_seconds), asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(probes))):
                group.create_task(worker())
    except TimeoutError:
        for probe in probes:
            if probe.id not in done:
                done[probe.id] = ProbeResult(probe=probe, completion=None, judgement=None, missing="deadline")
    results = tuple(done[p.id] for p in probes if p.id in done)
    return SweepResult(
        id=sweep,
        target=target.name,
        release=_one_release(results, sweep),
        suite=suite.name,
        suite_sha256=suite.sha256,
        started_at=started,
        finished_at=clock(),
        results=results,
    )


async def _ask(target: Target, judge: Judge, probe: Probe) -> ProbeResult:
    try:
        completion = await _complete(target, probe)
    except TargetError as error:
        return ProbeResult(probe=probe, completion=None, judgement=None, missing=error.reason)
    try:
        (judgement,) = await judge.judge([(probe, completion)])
    except JudgeError:
        return ProbeResult(probe=probe, completion=completion, judgement=None, missing="judge")
    result = ProbeResult(probe=probe, completion=completion, judgement=judgement)
    if result.scored:
        return result
    return ProbeResult(probe=probe, completion=completion, judgement=judgement, missing="unscored")


async def _complete(target: Target, probe: Probe) -> Completion:
    try:
        return await target.complete(probe)
    except RetryableTargetError as error:
        await asyncio.sleep(min(error.retry_after_seconds or 0.0, _RETRY_AFTER_SECONDS_MAX))
        return await target.complete(probe)


def _one_release(results: Sequence[ProbeResult], sweep: SweepId) -> str:
    named = {r.completion.release for r in results if r.completion and r.completion.release}
    if len(named) > 1:
        raise MixedReleaseError(
            f"sweep {sweep}: answers of {len(named)} releases ({', '.join(sorted(named))}); "
            "sweep again when the rollout is over"
        )
    return named.pop() if named else ""
