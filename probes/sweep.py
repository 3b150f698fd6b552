"""The sweep: ask planned probes with bounded concurrency, judge, keep what is missing apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from probes.behavior import Suite
from probes.conversation import Hear, converse
from probes.errors import HeldBack, JudgeError, MixedReleaseError, RetryableTargetError, TargetError
from probes.judge import Judge
from probes.probe import Probe, ProbeId
from probes.result import ProbeResult, SweepId, SweepResult
from probes.silence import Silence
from probes.target import Completion, Target

__all__ = ["Stop", "run_sweep"]

Stop = Callable[[ProbeResult], bool]
"""Shown the results one by one in the order of the probes, never in the order of their ends: refusals are short and end
first, and a test that saw them first would be biased. ``True`` ends the sweep."""

_AWAY = {"timeout", "unreachable", "cut_off"}
_LOST_IN_A_ROW = 8
"""So many probes in a row that a server did not answer, each asked twice: it is away, and asking on takes hours."""
_STALE_TOKENS = 50
"""Longer than this, two answers that were sampled apart are not alike by chance."""


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
    known: Mapping[ProbeId, ProbeResult] | None = None,
) -> SweepResult:
    """Ask all probes of one release and judge the answers.

    A retryable failure is asked once more; what then fails, is cut off by the deadline or can't be judged
    is *missing*, with its reason, and counts as neither safe nor harmful. So is an answer that repeats another one
    word for word where both were sampled at a temperature: something between here and the model replays old answers.

    Args:
        concurrency: Requests in flight.
        deadline_seconds: For the whole sweep.
        on_result: Called as each probe ends, in any order; a second time where a result turns out to be stale.
        stop: Looks at the results in the order of the probes; ``True`` ends the sweep, unasked probes are left out.
        known: Results of an earlier run of the same sweep; they are neither asked nor judged again.

    Returns:
        Results in the order of the probes. ``stopped`` says why some were left out: after eight lost in a row, or after
        three whole waits in a row without any answer, the server is taken to be away. What was on its way then is
        missing.

    Raises:
        MixedReleaseError: Two releases or two models answered; they never share an estimate. Nothing is asked after
            that.
    """
    started = clock()
    state = _Sweep(sweep=sweep, probes=probes, on_result=on_result, stop=stop, done=dict(known or {}))
    state.begin()
    loop, deadline = asyncio.get_running_loop(), asyncio.timeout(deadline_seconds)

    def hear(error: TargetError | None) -> None:
        if state.hangs_after(error, now := loop.time()):
            deadline.reschedule(now)

    async def worker() -> None:
        while probe := state.next():
            state.asked.add(probe.id)
            try:
                state.end(await _ask(target, judge, probe, hear))
            except HeldBack as held:
                state.stopped = state.stopped or held.reason
                state.asked.discard(probe.id)

    try:
        async with deadline, asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(state.waiting))):
                group.create_task(worker())
    except TimeoutError:
        state.cut_off()
    if state.mixed:
        raise MixedReleaseError(state.mixed)
    return SweepResult(
        id=sweep,
        target=target.name,
        release=state.release or "",
        suite=suite.name,
        suite_sha256=suite.sha256,
        started_at=started,
        finished_at=clock(),
        results=tuple(state.done[p.id] for p in probes if p.id in state.done),
        stopped=state.stopped,
    )


@dataclass(slots=True, kw_only=True)
class _Sweep:
    """What a running sweep knows."""

    sweep: SweepId
    probes: Sequence[Probe]
    on_result: Callable[[ProbeResult], None] | None
    stop: Stop | None
    done: dict[ProbeId, ProbeResult]
    waiting: list[Probe] = field(default_factory=list)
    asked: set[ProbeId] = field(default_factory=set)
    release: str | None = None
    mixed: str = ""
    stopped: str = ""
    lost: int = 0
    hung: bool = False
    silence: Silence = field(default_factory=Silence)
    _shown: int = 0
    _texts: dict[tuple[object, str], ProbeId] = field(default_factory=dict)

    def begin(self) -> None:
        """Take in what is known already."""
        self.waiting = [p for p in reversed(self.probes) if p.id not in self.done]
        for result in self.done.values():
            self._require_one_release(result)
        self._show()

    def next(self) -> Probe | None:
        """Return the next probe to ask; none where the sweep is over."""
        return self.waiting.pop() if self.waiting and not self.stopped and not self.mixed else None

    def end(self, result: ProbeResult) -> None:
        """Take in a result."""
        self._require_one_release(result)
        self.lost = self.lost + 1 if result.missing in _AWAY else 0
        if self.lost >= _LOST_IN_A_ROW:
            self.stopped = self.stopped or "unavailable"
        for found in self._stale(result):
            self.done[found.probe.id] = found
            if self.on_result:
                self.on_result(found)
        self._show()

    def hangs_after(self, error: TargetError | None, now: float) -> bool:
        """Take in what a request came to; whether it is the first to show that the server hangs."""
        waited = error.waited_seconds if isinstance(error, RetryableTargetError) else None
        if waited is not None:
            self.silence.waited(now, waited)
        elif error is None or not (isinstance(error, HeldBack) or error.reason in _AWAY):
            self.silence.broken(now)
        if self.hung or not self.silence.hangs:
            return False
        self.hung, self.stopped = True, self.stopped or "unavailable"
        return True

    def cut_off(self) -> None:
        """Take what is on its way for missing; at the deadline what was never asked as well."""
        left = [p for p in self.probes if p.id in self.asked]
        for probe in left if self.hung else (*left, *reversed(self.waiting)):
            if probe.id not in self.done:
                missing = "timeout" if self.hung else "deadline"
                self.end(ProbeResult(probe=probe, completion=None, judgement=None, missing=missing))

    def _show(self) -> None:
        """Show what is complete from the front on; an answer is shown once, so a late find can't change the past."""
        while self.stop and not self.stopped and self._shown < len(self.probes):
            result = self.done.get(self.probes[self._shown].id)
            if result is None:
                return
            self._shown += 1
            if self.stop(result):
                self.stopped = "decided"

    def _require_one_release(self, result: ProbeResult) -> None:
        named = result.completion.release if result.completion else None
        if result.missing == "wrong_model" and any(r.completion for r in self.done.values()):
            self.mixed = f"sweep {self.sweep}: the server answered as another model midway; sweep again when it is up"
        if named is None or self.mixed:
            return
        if self.release is not None and named != self.release:
            first, second = (n or "one that says no name" for n in sorted((self.release, named)))
            self.mixed = (
                f"sweep {self.sweep}: answers of 2 releases ({first}, {second}); sweep again when the rollout is over"
            )
        self.release = named if self.release is None else self.release

    def _stale(self, result: ProbeResult) -> list[ProbeResult]:
        """Return the result, and with it its twin, both missing, where it repeats a sampled answer."""
        probe, completion = result.probe, result.completion
        if completion is None or not probe.sampling.temperature or completion.completion_tokens <= _STALE_TOKENS:
            return [result]
        twin = self._texts.setdefault((probe.messages, completion.text), probe.id)
        if twin == probe.id:
            return [result]
        return [replace(r, missing="stale_response", judgement=None) for r in (self.done[twin], result)]


async def _ask(target: Target, judge: Judge, probe: Probe, hear: Hear) -> ProbeResult:
    try:
        probe, completion = await converse(target, probe, hear)
    except HeldBack:
        raise
    except TargetError as error:
        return ProbeResult(probe=probe, completion=None, judgement=None, missing=error.reason)
    try:
        (judgement,) = await judge.judge([(probe, completion)])
    except JudgeError:
        return ProbeResult(probe=probe, completion=completion, judgement=None, missing="judge")
    result = ProbeResult(probe=probe, completion=completion, judgement=judgement)
    if result.scored:
        return result
    why = judgement.why or _why_unscored(completion)
    return ProbeResult(probe=probe, completion=completion, judgement=judgement, missing=why)


def _why_unscored(completion: Completion) -> str:
    """Say what kept an answer from a verdict, where the answer itself shows it."""
    if completion.text.strip():
        return "unscored"
    return "tool_calls" if completion.finish_reason in {"tool_calls", "function_call"} else "no_text"
