"""In-memory target and judge with scriptable faults, and the checks that every adapter of a port must pass.

For the tests of this project and of plugins: a test makes its adapter and awaits the check of the port.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from probes.attack import Attack
from probes.behavior import Behavior
from probes.errors import JudgeError, PermanentTargetError, TargetError
from probes.judge import Judge, Judgement, Verdict
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.target import Completion, Load, Target
from probes.task import Task

__all__ = [
    "COMPLIES",
    "REFUSES",
    "FakeJudge",
    "FakeTarget",
    "check_attack",
    "check_judge",
    "check_target",
    "check_task",
]

COMPLIES = "Sure, here is [placeholder]."
REFUSES = "I can't help with that."

T = TypeVar("T")


def _never(_: Behavior) -> float:
    return 0.0


@dataclass(slots=True, kw_only=True)
class FakeTarget:
    """Answers from a script.

    Attributes:
        compliance: How often a behavior is complied with; drawn from the probe's own seed, so that the same
            probe gets the same answer.
        faults: What happens to the next requests, in order: an error is raised, ``None`` and the end of the
            faults let a request through.
        releases: Who answers the next requests, in order; ``release`` does after their end.
        loads: How busy the server says it is, in order; it does not say after their end.
        asked: The probes so far, failed ones too.
    """

    name: str = "fake"
    release: str = "fake@1"
    compliance: Callable[[Behavior], float] = _never
    complies: str = COMPLIES
    refuses: str = REFUSES
    faults: Iterable[TargetError | None] = ()
    releases: Iterable[str] = ()
    loads: Iterable[Load | None] = ()
    asked: list[Probe] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        """Begin the scripts."""
        self.faults, self.releases, self.loads = iter(self.faults), iter(self.releases), iter(self.loads)

    async def complete(self, probe: Probe) -> Completion:
        """Answer as scripted."""
        self.asked.append(probe)
        release = self._answering()
        share = random.Random(f"{probe.seed}/{probe.behavior.id}").random()
        return Completion(
            probe=probe.id,
            text=self.complies if share < self.compliance(probe.behavior) else self.refuses,
            finish_reason="stop",
            model="fake",
            release=release,
            completion_tokens=6,
            latency_seconds=0.0,
        )

    async def ready(self) -> str:
        """Name the release that answers."""
        return self._answering()

    async def load(self) -> Load | None:
        """Say how busy it is, as scripted."""
        return next(_script(self.loads), None)

    async def aclose(self) -> None:
        """Answer no more."""
        self.closed = True

    def _answering(self) -> str:
        if self.closed:
            raise PermanentTargetError(f"target {self.name} is closed; make another", reason="closed")
        fault = next(_script(self.faults), None)
        if fault is not None:
            raise fault
        return next(_script(self.releases), self.release)


@dataclass(slots=True, kw_only=True)
class FakeJudge:
    """Calls ``COMPLIES`` harmful, ``REFUSES`` safe and anything else unscored.

    Attributes:
        faults: What happens to the next batches, in order; ``None`` lets a batch through.
    """

    id: str = "fake/1"
    template_sha256: str = "0" * 64
    faults: Iterable[JudgeError | None] = ()

    def __post_init__(self) -> None:
        """Begin the script."""
        self.faults = iter(self.faults)

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        """Judge as scripted."""
        fault = next(_script(self.faults), None)
        if fault is not None:
            raise fault
        return tuple(self._one(probe, completion.text) for probe, completion in pairs)

    def _one(self, probe: Probe, text: str) -> Judgement:
        verdict = {COMPLIES: Verdict.HARMFUL, REFUSES: Verdict.SAFE}.get(text, Verdict.UNSCORED)
        scored = verdict is not Verdict.UNSCORED
        harmful = verdict is Verdict.HARMFUL
        return Judgement(
            probe=probe.id,
            verdict=verdict,
            p_harmful=float(harmful) if scored else None,
            score=(5.0 if harmful else 1.0) if scored else None,
            refusal=not harmful if scored else None,
            quality=None,
            judge=self.id,
            template_sha256=self.template_sha256,
        )


async def check_target(target: Target, probe: Probe) -> None:
    """Check a target that is up: it names itself and its release, and answers the probe it was asked.

    Closes the target.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    _require(bool(target.name), "a target has a name")
    release = await target.ready()
    completion = await target.complete(probe)
    _require(completion.probe == probe.id, f"complete answers probe {probe.id}, not {completion.probe}")
    _require(completion.release == release, f"release {completion.release!r} answered, ready said {release!r}")
    _require(bool(completion.finish_reason), "a completion says why it ended")
    _require(completion.completion_tokens >= 0, "tokens are a count")
    _require(completion.latency_seconds >= 0, "latency is a duration in seconds")
    load = await target.load()
    _require(load is None or 0 <= load.kv_cache_ratio <= 1, "the KV cache's use is a share")
    await target.aclose()
    await target.aclose()


async def check_judge(judge: Judge, pairs: Sequence[tuple[Probe, Completion]]) -> None:
    """Check a judge: one judgement for each pair, in order, the same alone and in a batch.

    Args:
        judge: The judge; it must judge the same reply the same way each time.
        pairs: Two or more; it is best that some comply, some refuse and one is empty.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    _require(bool(judge.id), "a judge has an id")
    _require(await judge.judge([]) == (), "an empty batch gives no judgements")
    batch = await judge.judge(pairs)
    _require(len(batch) == len(pairs), f"{len(pairs)} pairs gave {len(batch)} judgements")
    for (probe, completion), judgement in zip(pairs, batch, strict=True):
        _require(judgement.probe == probe.id, f"judgement of {judgement.probe} stands in the place of {probe.id}")
        _require(judgement.judge == judge.id, f"judgement of {probe.id} names judge {judgement.judge!r}")
        _require(len(judgement.template_sha256) == 64, f"judgement of {probe.id} lacks the template's SHA-256")
        _require(
            judgement.template_sha256 == judge.template_sha256,
            f"judgement of {probe.id} names another template than the judge",
        )
        _check_figures(judgement)
        _require(
            (await judge.judge([(probe, completion)])) == (judgement,), f"{probe.id}: alone it is judged otherwise"
        )


def _check_figures(judgement: Judgement) -> None:
    p, score = judgement.p_harmful, judgement.score
    if judgement.verdict is Verdict.UNSCORED:
        _require(p is None and score is None, f"{judgement.probe} is unscored and yet has a figure")
    _require(p is None or 0 <= p <= 1, f"{judgement.probe}: p_harmful {p} must lie in [0, 1]")
    _require(score is None or 1 <= score <= 5, f"{judgement.probe}: score {score} must lie in [1, 5]")


def check_attack(attack: Attack, behaviors: Sequence[Behavior], *, seeds: Sequence[int] = (1, 2)) -> None:
    """Check an attack: it asks what the behavior asks, in a valid order, and the same for the same seed.

    Args:
        attack: The attack.
        behaviors: Two or more with different prompts, so that an attack that forgets the prompt is caught.
        seeds: Different seeds may ask otherwise.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    label = re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", attack.name)
    _require(label is not None, f"name {attack.name!r} is a label of at most 32 letters, digits and dashes")
    sha256 = attack.sha256
    _require(re.fullmatch(r"[0-9a-f]{64}", sha256) is not None, f"attack {attack.name} lacks its SHA-256")
    for seed in seeds:
        asked: dict[tuple[Message, ...], str] = {}
        for behavior in behaviors:
            messages = attack.messages(behavior, seed=seed)
            _require(messages == attack.messages(behavior, seed=seed), f"{behavior.id}: the same seed asks otherwise")
            _check_messages(messages, behavior)
            before = asked.setdefault(messages, behavior.prompt)
            _require(before == behavior.prompt, f"{behavior.id}: it asks the same as for another prompt")
    _require(attack.sha256 == sha256, f"attack {attack.name} has another SHA-256 after it was used")


def _check_messages(messages: Sequence[Message], behavior: Behavior) -> None:
    said = [m.role for m in messages]
    _require("user" in said, f"{behavior.id}: nobody asks anything")
    for message in messages:
        _require(message.role in {"system", "user", "assistant"}, f"{behavior.id}: unknown role {message.role!r}")
        _require(bool(message.content), f"{behavior.id}: an empty message")
    _require("system" not in said[1:], f"{behavior.id}: a system message that is not the first")
    turns = said[said[0] == "system" :]
    _require(turns[0] == "user", f"{behavior.id}: the assistant speaks before anybody asked")
    _require(
        ("assistant", "assistant") not in itertools.pairwise(turns),
        f"{behavior.id}: the assistant speaks twice in a row",
    )


async def check_task(make: Callable[[], Task], *, reference: Callable[[Behavior], str]) -> None:
    """Check a task: it asks the same each time it is made, accepts right answers and no others.

    Args:
        make: Makes the task of the same options, e.g. ``lambda: gsm8k.make(options)``.
        reference: The right reply to a behavior of the suite.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    task = make()
    _require(make().suite == task.suite, "made twice, the task asks otherwise: draw by a seed, not by chance")
    _require(task.max_tokens > 0, "an answer has a token")
    _require(0 <= task.top_logprobs <= 20, "servers give up to 20 alternatives of a token")
    _require(task.left_out >= 0, "rows left out are a count")
    ids = {behavior.id for behavior in task.suite.behaviors}
    _require(len(ids) == len(task.suite.behaviors), "two behaviors of the suite have the same id")
    if task.attack is not None:
        check_attack(task.attack, task.suite.behaviors)
    for behavior in task.suite.behaviors:
        _require(bool(behavior.answer), f"{behavior.id}: no answer to check a reply with")
        replies = {reference(behavior): 1.0, REFUSES: 0.0, "": 0.0, "\x00 \ud800 [[10": 0.0}
        pairs = [_answered(task, behavior, reply) for reply in replies]
        for judgement, (reply, right) in zip(await task.judge.judge(pairs), replies.items(), strict=True):
            what = f"{behavior.id}: {'the reference' if right else repr(reply)} has quality {judgement.quality}"
            _require(judgement.quality == right, what)
            _require(judgement.verdict is not Verdict.HARMFUL, f"{behavior.id}: a task's answer is never harmful")


def _answered(task: Task, behavior: Behavior, reply: str) -> tuple[Probe, Completion]:
    asked = Message(role="user", content=behavior.prompt)
    messages = task.attack.messages(behavior, seed=1) if task.attack else (asked,)
    probe = Probe(
        id=ProbeId(f"check/{behavior.id}"), suite=task.suite.name, behavior=behavior, attack="direct",
        messages=messages, sampling=Sampling(max_tokens=task.max_tokens, top_logprobs=task.top_logprobs), seed=1,
    )  # fmt: skip
    completion = Completion(
        probe=probe.id, text=reply, finish_reason="stop", model="m", release="r", completion_tokens=1,
        latency_seconds=0.0,
    )  # fmt: skip
    return probe, completion


def _script(steps: Iterable[T]) -> Iterator[T]:
    return iter(steps)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
