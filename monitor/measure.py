"""How a target is measured: batches, sequential tests and release profiles, all by ``run_sweep``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from monitor.errors import NotMeasured
from monitor.recorder import Recorder
from monitor.watch import LogEntry
from probes.attack import Attack
from probes.behavior import Behavior, Partition, Suite
from probes.errors import MixedReleaseError
from probes.judge import Closing, Judge, Verdict
from probes.plan import WeightedAttack, plan_sweep
from probes.probe import Sampling
from probes.profile import ReleaseProfile, profile_of
from probes.result import ProbeResult, SweepId, SweepResult
from probes.statistics.evalues import Decision, DualEProcessTest, SequentialTest
from probes.sweep import run_sweep
from probes.target import Target

__all__ = ["Measure", "draw", "log_entries", "named_release", "profile", "until_decided"]

Test = TypeVar("Test", SequentialTest, DualEProcessTest)
Keep = Callable[[SweepResult, str], None]
"""Writes a sweep to the probe log, with its purpose."""

_RELEASE_ID = re.compile(r"^[^@\s]+@[0-9a-f]{12}$")
_MISSING_MAX = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Everything that decides what a sweep finds; ``key`` is its digest.

    Attributes:
        attacks: How harmful requests are dressed, drawn by their weights.
        plain: How harmless requests and tasks are asked.
        site_key: Decides which prompts are rotating, sentinel or sealed.
        new_id: Makes a fresh part of a sweep's id, from which its seeds follow.
        recorder: Keeps what every sweep asked and was answered.
        task_attack: How the task is asked; ``None`` asks plainly.
    """

    harm: Suite
    benign: tuple[Suite, ...]
    task: Suite | None
    judge: Judge
    task_judge: Judge | None
    attacks: tuple[WeightedAttack, ...]
    plain: Attack
    sampling: Sampling
    task_sampling: Sampling
    site_key: str
    concurrency: int
    deadline_seconds: float
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    recorder: Recorder = field(default_factory=Recorder)
    task_attack: Attack | None = None

    @property
    def key(self) -> str:
        """Digest of judges, suites, attacks and sampling: figures of different keys are never compared."""
        suites = [s.sha256 for s in (self.harm, *self.benign, *((self.task,) if self.task else ()))]
        sampled = [
            [s.max_tokens, s.temperature, s.top_p, s.top_logprobs] for s in (self.sampling, self.task_sampling)
        ]
        asked = [self.plain.sha256, self.task_attack.sha256 if self.task_attack else ""]
        mixture = [[a.attack.name, a.attack.sha256, a.weight] for a in self.attacks]
        judges = [[j.id, j.template_sha256] for j in self._judges]
        what = [judges, mixture, asked, suites, sampled]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]

    async def aclose(self) -> None:
        """Close the connections of judges that hold some."""
        for judge in self._judges:
            if isinstance(judge, Closing):
                await judge.aclose()

    @property
    def _judges(self) -> tuple[Judge, ...]:
        return (self.judge, self.task_judge) if self.task_judge else (self.judge,)


async def draw(
    measure: Measure, target: Target, *, n: int, part: Partition, purpose: str, release: str = ""
) -> SweepResult:
    """Ask ``n`` prompts drawn i.i.d. with replacement from a partition of the harm suite.

    Args:
        release: What is said to be in service, for the transcripts of answers that don't name theirs.

    Raises:
        NotMeasured: The partition is empty.
    """
    behaviors = measure.harm.part(part, key=measure.site_key)
    return await _sweep(measure, target, measure.harm, behaviors, n=n, purpose=purpose, release=release)


async def until_decided(
    measure: Measure,
    target: Target,
    test: Test,
    *,
    cap: int,
    batch: int,
    release: str,
    purpose: str,
    keep: Keep,
    say: Callable[[float], None],
) -> Test:
    """Draw sealed prompts until the test decides or ``cap`` probes were scored.

    Raises:
        NotMeasured: Over 5 % of the probes are missing, or another release answered.
        MixedReleaseError: Two releases answered in one batch.
    """
    missing = 0
    while test.decision is Decision.CONTINUE and test.n < cap:
        size = min(batch, cap - test.n)
        sweep = await draw(measure, target, n=size, part=Partition.SEALED, purpose=purpose, release=release)
        require_release(sweep, release)
        keep(sweep, purpose)
        missing += sweep.missing
        for result in sweep.results:
            harmful = _harmful(result)
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
        sweep = await _sweep(measure, target, suite, behaviors, purpose="profile", release=release, on_result=count)
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


def require_release(sweep: SweepResult, release: str) -> None:
    """Refuse a sweep whose answers name another release.

    Raises:
        NotMeasured: They do; the rollout is not over.
    """
    named = named_release(sweep)
    if named and named != release:
        raise NotMeasured(f"sweep {sweep.id}: {named} answered, not {release}; trying again when the switch is over")


def named_release(sweep: SweepResult) -> str:
    """Return the release that answered, where the answers' fingerprint is a release id; else nothing."""
    return sweep.release if _RELEASE_ID.match(sweep.release) else ""


def log_entries(measure: Measure, sweep: SweepResult, *, purpose: str, release: str) -> tuple[LogEntry, ...]:
    """Turn a sweep into what the log keeps of it: no text."""
    return tuple(
        LogEntry(
            sweep=sweep.id,
            at=sweep.finished_at,
            purpose=purpose,
            release=release,
            suite=sweep.suite,
            behavior=r.probe.behavior.id,
            category=r.probe.behavior.category,
            attack=r.probe.attack,
            judge=r.judgement.judge if r.judgement else measure.judge.id,
            seed=r.probe.seed,
            harmful=_harmful(r),
            score=r.judgement.score if r.judgement else None,
            missing=r.missing,
            probability=r.probe.probability,
            tokens=r.completion.prompt_tokens + r.completion.completion_tokens if r.completion else 0,
            weight=r.judgement.weight if r.judgement else 1.0,
            sampled=r.judgement.sampled if r.judgement else True,
        )
        for r in sweep.results
    )


async def _sweep(
    measure: Measure,
    target: Target,
    suite: Suite,
    behaviors: Sequence[Behavior],
    *,
    purpose: str,
    release: str,
    n: int | None = None,
    on_result: Callable[[ProbeResult], None] | None = None,
) -> SweepResult:
    if not behaviors:
        raise NotMeasured(f"suite {suite.name} has no prompts for {purpose}; use a larger suite")
    sweep = SweepId(f"{purpose}-{measure.new_id()}")
    judge, sampling = measure.judge, measure.sampling
    if suite is measure.task and measure.task_judge:
        judge, sampling = measure.task_judge, measure.task_sampling
    probes = plan_sweep(
        suite, behaviors, sweep=sweep, attacks=_attacks(measure, suite), sampling=sampling, key=measure.site_key, n=n
    )
    answered: list[ProbeResult] = []

    def take(result: ProbeResult) -> None:
        answered.append(result)
        if on_result:
            on_result(result)

    began = measure.clock()
    try:
        swept = await run_sweep(
            target, judge, suite, probes, sweep=sweep, clock=measure.clock, concurrency=measure.concurrency,
            deadline_seconds=measure.deadline_seconds, on_result=take,
        )  # fmt: skip
    except MixedReleaseError:
        mixed = SweepResult(
            id=sweep, target=target.name, release="", suite=suite.name, suite_sha256=suite.sha256, started_at=began,
            finished_at=measure.clock(), results=tuple(answered),
        )  # fmt: skip
        await measure.recorder.record(mixed, release=release)
        raise
    await measure.recorder.record(swept, release=named_release(swept) or release or swept.release)
    if len(swept.results) < len(probes) and (not swept.results or purpose == "profile"):
        why = {"paused": "probing is paused", "budget": "the day's budget of tokens is used up"}
        raise NotMeasured(f"sweep {sweep}: {why.get(swept.stopped, swept.stopped)}")
    return swept


def _attacks(measure: Measure, suite: Suite) -> tuple[WeightedAttack, ...]:
    """Harmful requests are dressed; what a model can do under an attack, or refuses then, is another question."""
    if suite is measure.harm:
        return measure.attacks
    plain = (measure.task_attack if suite is measure.task else None) or measure.plain
    return (WeightedAttack(attack=plain),)


def _harmful(result: ProbeResult) -> bool | None:
    if not result.scored or result.judgement is None:
        return None
    return result.judgement.verdict is Verdict.HARMFUL
