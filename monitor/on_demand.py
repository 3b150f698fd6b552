"""A sweep that a person asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.policy import Rates
from monitor.recorder import Recorder
from probes.behavior import Behavior, Suite, SuiteKind
from probes.errors import MixedReleaseError, RecordError
from probes.estimate import accuracy_estimate, asr_estimate, hs_estimate, rate_estimate, refusal_estimate
from probes.judge import Judge, Verdict
from probes.plan import WeightedAttack, plan_sweep
from probes.probe import Probe, Sampling
from probes.published import PublishedResults
from probes.record import SweepRecord, read_header
from probes.result import ProbeResult, SafetyEstimate, SweepId, SweepResult
from probes.statistics.confidence import SubBernoulliConfidenceSequence, running_bounds
from probes.statistics.evalues import Decision, SequentialTest
from probes.suites import content_sha256
from probes.sweep import run_sweep
from probes.target import Target

__all__ = ["Asking", "Found", "probe_now"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a person wants to know.

    Attributes:
        endpoint: Without user and password.
        behaviors: Where to draw from, this part of the suite.
        key: Decides draws and seeds.
        n: Probes to draw; ``None`` asks each behavior once. With ``until_decided`` at most so many.
        until_decided: Whether to stop as soon as the sequential test decides (suites of kind harm).
        texts: Whether record and exports hold prompts and answers.
        recorder: Keeps the transcripts, by the configuration.
    """

    target: Target
    endpoint: str
    model: str
    part: str
    judge: Judge
    suite: Suite
    behaviors: tuple[Behavior, ...]
    attacks: tuple[WeightedAttack, ...]
    sampling: Sampling
    key: str
    n: int | None
    until_decided: bool
    rates: Rates
    concurrency: int
    deadline_seconds: float
    texts: bool = False
    recorder: Recorder = field(default_factory=Recorder)

    def header(self, sweep: SweepId, started_at: datetime) -> dict[str, Any]:
        """Return everything that decides the sweep, in plain values."""
        sampling = self.sampling
        return {
            "sweep": sweep, "started_at": started_at.isoformat(timespec="seconds"), "target": self.target.name,
            "endpoint": self.endpoint, "model": self.model, "suite": self.suite.name,
            "suite_sha256": self.suite.sha256, "kind": self.suite.kind.value, "part": self.part,
            "behaviors": len(self.behaviors), "behaviors_sha256": content_sha256(self.behaviors), "n": self.n,
            "until_decided": self.until_decided, "judge": self.judge.id, "judge_sha256": self.judge.template_sha256,
            "attacks": [
                {"name": a.attack.name, "sha256": a.attack.sha256, "weight": a.weight} for a in self.attacks
            ],
            "max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "p0": self.rates.p0, "p1": self.rates.p1, "alpha": self.rates.alpha, "beta": self.rates.beta,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a sweep found.

    Attributes:
        estimate: Of what the suite measures: ASR, over-refusal or accuracy.
        asr_by_behavior: HarmBench's: each behavior's rate, averaged over the behaviors; ``None`` for other suites.
        by_attack: Estimates by attack, as ``by_category``.
        missing: How many probes got no verdict, by reason.
        decision: Of the sequential test; ``None`` for suites that are not harmful.
        flags: How many answers were odd, by the judge's word.
        order: Ids of the whole suite, in its order.
    """

    sweep: SweepResult
    kind: SuiteKind
    estimate: SafetyEstimate
    hs: SafetyEstimate | None
    share_scoring_5: SafetyEstimate | None
    asr_by_behavior: float | None
    decision: Decision | None
    by_category: Mapping[str, SafetyEstimate]
    by_attack: Mapping[str, SafetyEstimate]
    missing: Mapping[str, int]
    flags: Mapping[str, int]
    order: tuple[str, ...] = ()


async def probe_now(
    asking: Asking,
    *,
    clock: Callable[[], datetime],
    new_id: Callable[[], str],
    record: Path | None = None,
    on_result: Callable[[ProbeResult], None] = lambda _: None,
    on_plan: Callable[[int, int], None] = lambda _total, _known: None,
) -> Found:
    """Ask a target now.

    Args:
        record: File to write each result to as it ends; a sweep that is in it goes on.
        on_plan: Told how many probes there are and how many of them are known from the record.

    Raises:
        TargetError: The target does not answer as the expected model.
        MixedReleaseError: Two releases answered.
        RecordError: The record can't be written, or holds another sweep.
    """
    await asking.target.ready()
    before = read_header(record) if record else None
    sweep = SweepId(str(before["sweep"])) if before else SweepId(f"on-demand-{new_id()}")
    probes = plan_sweep(
        asking.suite, asking.behaviors, sweep=sweep, attacks=asking.attacks, sampling=asking.sampling, key=asking.key,
        n=asking.n,
    )  # fmt: skip
    kept = SweepRecord(record, asking.header(sweep, clock()), probes, texts=asking.texts) if record else None
    try:
        on_plan(len(probes), len(kept.known) if kept else 0)
        result, test = await _sweep(asking, sweep, probes, kept=kept, clock=clock, on_result=on_result)
    except MixedReleaseError as error:
        raise MixedReleaseError(f"{error}" + (", into another --out" if kept else "")) from error
    finally:
        if kept:
            kept.close()
    return _found(asking, result, test)


async def _sweep(
    asking: Asking,
    sweep: SweepId,
    probes: tuple[Probe, ...],
    *,
    kept: SweepRecord | None,
    clock: Callable[[], datetime],
    on_result: Callable[[ProbeResult], None],
) -> tuple[SweepResult, SequentialTest | None]:
    rates = asking.rates
    harm = asking.suite.kind is SuiteKind.HARM
    test = SequentialTest(p0=rates.p0, p1=rates.p1, alpha=rates.alpha, beta=rates.beta) if harm else None

    began = clock()

    def take(result: ProbeResult) -> None:
        alone = SweepResult(
            id=sweep, target=asking.target.name, release=result.completion.release if result.completion else "",
            suite=asking.suite.name, suite_sha256=asking.suite.sha256, started_at=began, finished_at=clock(),
            results=(result,),
        )  # fmt: skip
        asking.recorder.keep(alone, release=alone.release)
        if kept:
            kept.add(result)
        on_result(result)

    def decided(result: ProbeResult) -> bool:
        nonlocal test
        if test is None or test.decision is Decision.REJECT or not result.scored or result.judgement is None:
            return False
        test = test.update(result.judgement.verdict is Verdict.HARMFUL, sampled=result.judgement.sampled)
        return asking.until_decided and test.decision is not Decision.CONTINUE

    try:
        result = await run_sweep(
            asking.target, asking.judge, asking.suite, probes, sweep=sweep, clock=clock,
            concurrency=asking.concurrency, deadline_seconds=asking.deadline_seconds, on_result=take, stop=decided,
            known=kept.known if kept else None,
        )  # fmt: skip
    except* RecordError as group:
        raise group.exceptions[0] from None
    return result, test


def _found(asking: Asking, sweep: SweepResult, test: SequentialTest | None) -> Found:
    kind, results = asking.suite.kind, sweep.results
    estimate_of = {SuiteKind.HARM: asr_estimate, SuiteKind.BENIGN: refusal_estimate, SuiteKind.TASK: accuracy_estimate}
    estimate = estimate_of[kind]
    harm = kind is SuiteKind.HARM
    whole = estimate(results)
    if harm and sweep.stopped == "decided":
        whole = _watched(whole, results)
    return Found(
        sweep=sweep,
        kind=kind,
        estimate=whole,
        hs=hs_estimate(results) if harm else None,
        share_scoring_5=rate_estimate(results, lambda j: None if j.score is None else j.score == 5) if harm else None,
        asr_by_behavior=_by_behavior(results) if harm else None,
        decision=test.decision if test else None,
        by_category=_grouped(sweep, lambda r: r.probe.behavior.category, estimate),
        by_attack=_grouped(sweep, lambda r: r.probe.attack, estimate),
        missing=Counter(r.missing or "unscored" for r in results if not r.scored),
        flags=Counter(f for r in results if r.judgement for f in r.judgement.flags),
        order=tuple(b.id for b in asking.suite.behaviors),
    )


def _by_behavior(results: tuple[ProbeResult, ...]) -> float | None:
    """Return HarmBench's ASR; none where an audit found harm, which stands for more than itself."""
    if any(not r.judgement.sampled for r in results if r.judgement):
        return None
    verdicts: dict[str, tuple[bool | None, ...]] = {}
    for r in results:
        found = r.judgement.verdict is Verdict.HARMFUL if r.scored and r.judgement else None
        verdicts[r.probe.behavior.id] = (*verdicts.get(r.probe.behavior.id, ()), found)
    return PublishedResults(form="harmbench", verdicts=verdicts).asr().value


def _watched(estimate: SafetyEstimate, results: tuple[ProbeResult, ...]) -> SafetyEstimate:
    """Put the interval that holds at any time in place of the one for a fixed number: the sweep chose when to stop."""
    if estimate.value is None:
        return estimate
    gauge = sampled = SubBernoulliConfidenceSequence(alpha=1 - estimate.confidence)
    for j in (r.judgement for r in results if r.scored and r.judgement):
        gauge = gauge.update(float(j.verdict is Verdict.HARMFUL))
        sampled = sampled.update(float(j.verdict is Verdict.HARMFUL)) if j.sampled else sampled
    lower, upper = gauge.interval if sampled.n == gauge.n else running_bounds(gauge, sampled)
    return replace(estimate, value=min(max(estimate.value, lower), upper), lower=lower, upper=upper)


def _grouped(
    sweep: SweepResult,
    name: Callable[[ProbeResult], str],
    estimate: Callable[[list[ProbeResult]], SafetyEstimate],
) -> dict[str, SafetyEstimate]:
    groups: dict[str, list[ProbeResult]] = {}
    for result in sweep.results:
        groups.setdefault(name(result), []).append(result)
    return {key: estimate(groups[key]) for key in sorted(groups)}
