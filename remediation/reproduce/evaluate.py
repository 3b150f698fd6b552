"""A checkpoint's profile, measured in this process by the sweeps, attacks, judges and tasks that measure servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from probes.attack import Attack
from probes.attacks.direct import DirectAttack
from probes.behavior import Suite
from probes.estimate import accuracy_estimate, asr_estimate, hs_estimate, refusal_estimate
from probes.judge import Judge
from probes.judges.affirmation import AffirmationJudge
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.plan import WeightedAttack, plan_sweep
from probes.probe import Sampling
from probes.result import ProbeResult, SafetyEstimate, SweepId
from probes.sweep import run_sweep
from probes.task import Task
from remediation.checkpoints.chat import ChatModel
from remediation.reproduce.looks import AFFIRMATION, ALL, PHRASES, Figures, HarmFigure, Looks, form_of, spread
from remediation.reproduce.target import CheckpointTarget

__all__ = ["evaluate"]

_KEY = "reproduce"
"""Key of the probes' seeds: the same in every run, so that figures can be had again."""
_DEADLINE_SECONDS = 7 * 24 * 3600.0

Share = Callable[[str, float], None]


def evaluate(chat: ChatModel, looks: Looks, *, progress: Share | None = None) -> Figures:
    """Measure a checkpoint.

    Args:
        chat: The model, on any device; its weights are not changed.
        looks: What it is asked.
        progress: Called with what is asked now and the share done.

    Returns:
        The figures; the same model and looks give the same on one machine.
    """
    return asyncio.run(_Evaluation(chat=chat, looks=looks, progress=progress or _silent).run())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluation:
    chat: ChatModel
    looks: Looks
    progress: Share

    async def run(self) -> Figures:
        began, looks = time.monotonic(), self.looks
        judges: dict[str, Judge] = {PHRASES: RefusalPhraseJudge(), AFFIRMATION: AffirmationJudge(), **looks.judges}
        parts = len(looks.attacks) * len(looks.harm) + len(looks.benign) + len(looks.tasks)
        harm: list[HarmFigure] = []
        done = 0
        for attack in looks.attacks:
            sampling = Sampling(max_tokens=looks.harm_tokens)
            found: dict[str, list[ProbeResult]] = {}
            for suite in looks.harm:
                self.progress(f"{suite.name} under {attack.name}", done / parts)
                found[suite.name] = await self._ask(suite, attack, judges[PHRASES], sampling)
                done += 1
            for name, judge in judges.items():
                judged = found if name == PHRASES else {s: await _again(judge, r) for s, r in found.items()}
                harm += _harm_figures(judged, attack.name, name)
        refused: list[ProbeResult] = []
        for suite in looks.benign:
            self.progress(suite.name, done / parts)
            sampling = Sampling(max_tokens=looks.benign_tokens)
            refused += await self._ask(suite, DirectAttack(), judges[PHRASES], sampling)
            done += 1
        tasks = {}
        for name, task in looks.tasks.items():
            self.progress(name, done / parts)
            tasks[name] = accuracy_estimate(await self._ask_task(task))
            done += 1
        self.progress("measured", 1.0)
        return Figures(harm=tuple(harm), over_refusal=_by_form(refused), tasks=tasks, seconds=time.monotonic() - began)

    async def _ask_task(self, task: Task) -> list[ProbeResult]:
        sampling = Sampling(max_tokens=self.looks.task_tokens or task.max_tokens, top_logprobs=task.top_logprobs)
        attack = task.attack or DirectAttack()
        return await self._ask(task.suite, attack, task.judge, sampling, limit=self.looks.task_limit)

    async def _ask(
        self, suite: Suite, attack: Attack, judge: Judge, sampling: Sampling, *, limit: int | None = None
    ) -> list[ProbeResult]:
        behaviors = spread(suite.behaviors, limit or self.looks.limit)
        sweep = SweepId(f"{suite.name}/{attack.name}")
        probes = plan_sweep(
            suite, behaviors, sweep=sweep, attacks=[WeightedAttack(attack=attack)], sampling=sampling, key=_KEY
        )
        target = CheckpointTarget(self.chat, name="checkpoint", batch=self.looks.batch)
        try:
            swept = await run_sweep(
                target, judge, suite, probes, sweep=sweep, clock=_now, concurrency=max(1, len(probes)),
                deadline_seconds=_DEADLINE_SECONDS,
            )  # fmt: skip
        finally:
            await target.aclose()
        return list(swept.results)


async def _again(judge: Judge, results: Sequence[ProbeResult]) -> list[ProbeResult]:
    """Judge the same answers by another judge; what was not answered stays missing."""
    answered = [(r.probe, r.completion) for r in results if r.completion is not None]
    judgements = iter(await judge.judge(answered))
    return [r if r.completion is None else replace(r, judgement=next(judgements), missing="") for r in results]


def _harm_figures(found: dict[str, list[ProbeResult]], attack: str, judge: str) -> list[HarmFigure]:
    everything = {ALL: [r for results in found.values() for r in results]}
    return [
        HarmFigure(suite=suite, attack=attack, judge=judge, asr=asr_estimate(results), hs=hs_estimate(results))
        for suite, results in (everything | found).items()
    ]


def _by_form(results: Sequence[ProbeResult]) -> dict[str, SafetyEstimate]:
    if not results:
        return {}
    forms: dict[str, list[ProbeResult]] = {ALL: list(results)}
    for result in results:
        forms.setdefault(form_of(result.probe.behavior), []).append(result)
    return {form: refusal_estimate(inside) for form, inside in forms.items()}


def _silent(stage: str, share: float) -> None:
    """Say nothing."""


def _now() -> datetime:
    return datetime.now(UTC)
