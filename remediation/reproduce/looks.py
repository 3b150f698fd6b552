"""What a checkpoint is looked at with, and what is found; the choice of prompts is pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from probes.attack import Attack
from probes.behavior import Behavior, Suite, SuiteKind
from probes.errors import SuiteError
from probes.judge import Judge
from probes.judges.affirmation import AffirmationJudge
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.result import SafetyEstimate
from probes.task import Task

__all__ = ["AFFIRMATION", "ALL", "PHRASES", "Figures", "HarmFigure", "Looks", "form_of", "imperative_of", "spread"]

PHRASES, AFFIRMATION = "refusal-phrases", "affirmation"
"""The two judges that every checkpoint is looked at with."""
ALL = "all"
"""Stands for all suites together."""

_HOW = re.compile(
    r"^(?:how (?:can|do|could|should|would|might) (?:i|you(?! think\b)|we|one)"
    r"|(?:how|what(?:'s| is) the (?:best|easiest|right) way) to) (?P<what>[a-z][^?]*)\?+$", re.IGNORECASE,
)  # fmt: skip
"""A question of how whoever reads it does something; what others do (``How do people …?``) can't be ordered so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What a checkpoint is looked at with.

    Attributes:
        harm: Suites of harmful requests.
        attacks: How they are asked; each suite under each attack.
        benign: Suites of harmless requests, asked as they are.
        tasks: By name, e.g. ``sql``.
        judges: Further judges of harm by name, beside the two that are always asked.
        harm_tokens: Longest answer to a harmful request; ASR depends on it.
        benign_tokens: Longest answer to a harmless one.
        task_tokens: Longest answer to a task; each task's own where not given.
        limit: Prompts of each suite at most, spread over forms and categories by a hash of their ids.
        task_limit: Questions of each task at most; ``limit`` where not given.
        batch: Prompts in one forward pass.
    """

    harm: tuple[Suite, ...]
    attacks: tuple[Attack, ...]
    benign: tuple[Suite, ...] = ()
    tasks: Mapping[str, Task] = field(default_factory=dict)
    judges: Mapping[str, Judge] = field(default_factory=dict)
    harm_tokens: int = 16
    benign_tokens: int = 12
    task_tokens: int | None = None
    limit: int | None = None
    task_limit: int | None = None
    batch: int = 64

    @property
    def parts(self) -> dict[str, str]:
        """Digests of all that decides the figures but the model, by what it is.

        Figures that differ in a part are not set side by side.
        """
        judges: list[Judge] = [RefusalPhraseJudge(), AffirmationJudge(), *self.judges.values()]
        return {
            "harmful requests": _digest([s.sha256 for s in self.harm]),
            "harmless requests": _digest([s.sha256 for s in self.benign]),
            "tasks": _digest([(n, t.suite.sha256, t.judge.id, t.judge.template_sha256) for n, t in self.tasks.items()]),
            "judges": _digest([(j.id, j.template_sha256) for j in judges]),
            "lengths and limits": _digest(
                [self.harm_tokens, self.benign_tokens, self.task_tokens, self.limit, self.task_limit]
            ),
            **{f"attack {a.name}": _digest([a.sha256]) for a in self.attacks},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmFigure:
    """What one judge says of one suite under one attack.

    Attributes:
        suite: The suite's name, or ``all``.
        hs: Mean score 1-5.
    """

    suite: str
    attack: str
    judge: str
    asr: SafetyEstimate
    hs: SafetyEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a checkpoint does, with 95 % intervals.

    Attributes:
        harm: For each attack, suite and judge, and for all suites together.
        over_refusal: Share of harmless requests refused by form: ``question``, ``imperative`` and ``all``.
        tasks: Accuracy, or mean mark in [0, 1], by task.
        seconds: Wall time.
    """

    harm: tuple[HarmFigure, ...]
    over_refusal: Mapping[str, SafetyEstimate]
    tasks: Mapping[str, SafetyEstimate]
    seconds: float

    def asr(self, judge: str, *, attack: str = "", suite: str = ALL) -> SafetyEstimate:
        """Return the ASR of all suites (or of one) under the first attack (or another one).

        Raises:
            KeyError: It was not measured.
        """
        return self._harm(judge, attack, suite).asr

    def hs(self, judge: str, *, attack: str = "", suite: str = ALL) -> SafetyEstimate:
        """Return the mean score, as ``asr`` does the rate.

        Raises:
            KeyError: It was not measured.
        """
        return self._harm(judge, attack, suite).hs

    @property
    def asr_phrases(self) -> SafetyEstimate:
        """ASR under the first attack: what is not refused."""
        return self.asr(PHRASES)

    @property
    def asr_affirmation(self) -> SafetyEstimate:
        """ASR under the first attack: what takes the request up."""
        return self.asr(AFFIRMATION)

    @property
    def over_refusal_question(self) -> SafetyEstimate | None:
        """Share of harmless questions refused, ``None`` where none was asked."""
        return self.over_refusal.get("question")

    @property
    def over_refusal_imperative(self) -> SafetyEstimate | None:
        """Share of harmless orders refused, ``None`` where none was asked."""
        return self.over_refusal.get("imperative")

    @property
    def task(self) -> SafetyEstimate | None:
        """The first task's accuracy, ``None`` where none was asked."""
        return next(iter(self.tasks.values()), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def _harm(self, judge: str, attack: str, suite: str) -> HarmFigure:
        for figure in self.harm:
            if figure.judge == judge and figure.suite == suite and attack in {"", figure.attack}:
                return figure
        raise KeyError(f"{judge} on {suite} under {attack or 'the first attack'}: not measured")


def spread(behaviors: Sequence[Behavior], limit: int | None) -> tuple[Behavior, ...]:
    """Take so many behaviors, in turn from each form and category, in the suite's order.

    Which ones is decided by a hash of their ids: the same on every machine, and a larger limit takes them and more.
    """
    if limit is None or limit >= len(behaviors):
        return tuple(behaviors)
    cells: dict[tuple[str, str], list[Behavior]] = {}
    for behavior in sorted(behaviors, key=lambda b: hashlib.sha256(b.id.encode()).digest()):
        cells.setdefault((form_of(behavior), behavior.category), []).append(behavior)
    places = sorted(((cell, i) for cell, inside in cells.items() for i in range(len(inside))), key=_turn)
    taken = {cells[cell][i].id for cell, i in places[:limit]}
    return tuple(b for b in behaviors if b.id in taken)


def _turn(place: tuple[tuple[str, str], int]) -> tuple[int, bytes]:
    cell, i = place
    return i, hashlib.sha256("/".join(cell).encode()).digest()


def form_of(behavior: Behavior) -> str:
    """Return a behavior's form; where the suite does not say, a question is what ends in a question mark."""
    return behavior.form or ("question" if behavior.prompt.rstrip().endswith("?") else "imperative")


def imperative_of(suite: Suite) -> Suite:
    """Put a suite's questions as orders: ``How do I X?`` as ``Tell me how to X.``; other questions are left out.

    Public sets of look-alikes such as XSTest ask questions only, and a model that learnt to refuse the shape of a
    question is not found out by them alone.

    Raises:
        SuiteError: No question of the suite can be put as an order.
    """
    told = [replace(b, id=type(b.id)(f"{b.id}-order"), prompt=p, form="imperative")
            for b in suite.behaviors if (p := _order(b.prompt))]  # fmt: skip
    if not told:
        raise SuiteError(f"suite {suite.name}: none of its questions can be put as an order; leave that form out")
    digest = hashlib.sha256("\n".join(f"{b.id}\t{b.prompt}" for b in told).encode()).hexdigest()
    return Suite(name=f"{suite.name}-orders", kind=SuiteKind.BENIGN, behaviors=tuple(told), sha256=digest)


def _order(question: str) -> str:
    text = question.strip()
    if how := _HOW.match(text):
        return f"Tell me how to {how['what'].strip()}."
    return ""


def _digest(what: Sequence[object]) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
