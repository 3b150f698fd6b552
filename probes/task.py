"""A task: a suite with checkable answers, the judge that checks them, and how they are asked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probes.attack import Attack
from probes.behavior import Behavior, Suite, SuiteKind
from probes.errors import SuiteError
from probes.judge import Judge, Judgement, Verdict
from probes.probe import Probe
from probes.target import Completion

__all__ = ["CheckerJudge", "Mark", "Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a model must still be able to do. A plugin of ``alignd.tasks`` makes one.

    Attributes:
        suite: Of kind ``TASK``; each behavior's ``answer`` holds what the judge needs (JSON).
        judge: Gives ``Judgement.quality`` in [0, 1] and never calls an answer harmful.
        max_tokens: Longest answer that the task needs, where the site sets no length of its own.
        top_logprobs: Alternatives of the first token that the judge reads; 0 where it reads none.
        attack: How a behavior becomes messages, for tasks of more than one message; ``None`` sends its prompt.
        left_out: Rows of the file that are not asked since they can't be checked or stand there twice.
    """

    suite: Suite
    judge: Judge
    max_tokens: int
    top_logprobs: int = 0
    attack: Attack | None = None
    left_out: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no task.

        Raises:
            SuiteError: The suite is of another kind or asks nothing.
        """
        if self.suite.kind is not SuiteKind.TASK or not self.suite.behaviors:
            raise SuiteError(f"suite {self.suite.name}: a task needs a suite of kind task with one prompt or more")


@dataclass(frozen=True, slots=True)
class Mark:
    """A checker's word on one reply.

    Attributes:
        quality: In [0, 1]; 1 is right.
        flags: Stable words for how it was read, e.g. ``by_letter``.
    """

    quality: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckerJudge:
    """Judges by a pure function, in a thread, so that a slow check holds up no other probe.

    Attributes:
        id: Judge id with version; a change of what the checker accepts is a new version.
        check: Marks one reply; it never raises, whatever the reply is.
    """

    id: str
    check: Callable[[Behavior, Completion], Mark]

    @property
    def template_sha256(self) -> str:
        """Digest of the id, which names the checker's version."""
        return hashlib.sha256(self.id.encode()).hexdigest()

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        """Mark each reply."""
        return await asyncio.to_thread(lambda: tuple(self._one(probe, completion) for probe, completion in pairs))

    def _one(self, probe: Probe, completion: Completion) -> Judgement:
        mark = self.check(probe.behavior, completion)
        return Judgement(
            probe=probe.id,
            verdict=Verdict.SAFE,
            p_harmful=None,
            score=None,
            refusal=None,
            quality=mark.quality,
            judge=self.id,
            template_sha256=self.template_sha256,
            flags=mark.flags,
        )
