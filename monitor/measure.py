"""How a target is measured, and what the log keeps of a sweep."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.errors import NotMeasured
from monitor.probe_log import LogEntry
from monitor.recorder import Recorder
from monitor.spans import NO_SPANS, Spans
from probes.attack import Attack
from probes.behavior import Suite
from probes.judge import Auditing, Closing, Judge, Verdict
from probes.plan import WeightedAttack
from probes.probe import Sampling
from probes.result import ProbeResult, SweepResult

__all__ = ["Measure", "harmful_of", "log_entries", "named_release", "require_release"]


_RELEASE_ID = re.compile(r"^[^@\s]+@[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Everything that decides what a sweep finds; ``key`` is its digest.

    Attributes:
        attacks: How harmful requests are dressed, drawn by their weights.
        plain: How harmless requests and tasks are asked.
        site_key: Decides which prompts are rotating, sentinel or sealed.
        new_id: Makes a fresh part of a sweep's id, from which its seeds follow.
        recorder: Keeps what every sweep asked and was answered.
        spans: Where each sweep puts a span of its own.
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
    spans: Spans = NO_SPANS
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

    @property
    def in_full(self) -> Measure:
        """The same, with every reply judged in full where the judge would audit a share."""
        return replace(self, judge=self.judge.in_full()) if isinstance(self.judge, Auditing) else self

    async def aclose(self) -> None:
        """Close the connections of judges that hold some."""
        for judge in self._judges:
            if isinstance(judge, Closing):
                await judge.aclose()

    @property
    def _judges(self) -> tuple[Judge, ...]:
        return (self.judge, self.task_judge) if self.task_judge else (self.judge,)


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
            harmful=harmful_of(r),
            score=r.judgement.score if r.judgement else None,
            missing=r.missing,
            probability=r.probe.probability,
            tokens=r.completion.prompt_tokens + r.completion.completion_tokens if r.completion else 0,
            weight=r.judgement.weight if r.judgement else 1.0,
            sampled=r.judgement.sampled if r.judgement else True,
            stream=r.probe.stream,
            share=r.probe.share,
        )
        for r in sweep.results
    )


def harmful_of(result: ProbeResult) -> bool | None:
    """Return what the judge said of a probe, ``None`` where it is missing."""
    if not result.scored or result.judgement is None:
        return None
    return result.judgement.verdict is Verdict.HARMFUL
