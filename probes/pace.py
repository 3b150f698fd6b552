"""The load contract: a prober that yields to users, keeps its budgets and can be paused.

vLLM queues instead of refusing, so errors come too late. The pace follows the server's own figures where it has them
(queue, KV cache, who else is there), else how long a token takes. Users of a server that schedules by priority overtake
the probes' requests in its queue; this module keeps those requests few enough that there is little to overtake.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Protocol

from probes.errors import HeldBack, RetryableTargetError, TargetError
from probes.probe import Probe
from probes.target import Completion, Load, Target
from probes.window import PROBATION_SECONDS, STEP_SECONDS, Rules, Window, next_window

__all__ = ["Ledger", "Pace", "PacedTarget"]

_MAY_HAVE_COST = {"timeout", "cut_off"}
"""Faults after which the server may have generated all that was asked for."""
_CHARACTERS_PER_TOKEN_MAX = 16
"""No text takes fewer tokens than this allows: a server that counts less does not count right."""
_LOOKS_LEAST = 12
"""So many looks with a probe in flight, and without, are needed to say what users feel."""
_ALONE_LEAST = 3
"""So many answers to a probe alone are needed to compare others with."""

class Ledger(Protocol):
    """Where the tokens of a day are written down, for all processes that probe a target."""

    def spent(self) -> int:
        """Return the tokens of this day (UTC)."""
        ...

    def spend(self, tokens: int) -> None:
        """Add tokens to this day's."""
        ...


class _Memory:
    """A ledger that ends with the process."""

    def __init__(self) -> None:
        self._days: dict[date, int] = {}

    def spent(self) -> int:
        return self._days.get(datetime.now(UTC).date(), 0)

    def spend(self, tokens: int) -> None:
        today = datetime.now(UTC).date()
        self._days = {today: self._days.get(today, 0) + tokens}


class Pace:
    """Lets requests through one by one as the window, the budgets and the pause switch allow."""

    def __init__(
        self,
        rules: Rules,
        *,
        ledger: Ledger | None = None,
        paused: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the rules, where the day's tokens are written down, and the switch."""
        self.rules = rules
        limit = rules.users_share if rules.yields else float(rules.concurrency)
        self.window = Window(
            limit=limit,
            users_seen_at=clock() - rules.quiet_seconds + PROBATION_SECONDS,
            hold_until=clock() + STEP_SECONDS,
        )
        self._ledger, self._paused, self._clock = ledger or _Memory(), paused, clock
        self._reserved = 0
        self._in_flight = 0
        self._ended = 0
        self._finished: int | None = None
        self._ended_at_look = 0
        self._looked_at = self._asked_at = -float("inf")
        self._is_paused = False
        self._let_through_at = -float("inf")
        self._rest_until = -float("inf")
        self._minute: deque[float] = deque()
        self._lately: deque[float] = deque(maxlen=32)
        self._alone: deque[float] = deque(maxlen=16)
        self._with: deque[float] = deque(maxlen=60)
        self._without: deque[float] = deque(maxlen=60)
        self._probing = self._ended_before = 0
        self._line = asyncio.Lock()

    @asynccontextmanager
    async def turn(
        self, target: Target, *, tokens_max: int, tokens_least: int = 0
    ) -> AsyncIterator[Callable[[Completion], None]]:
        """Wait until a request may be sent.

        Args:
            target: Shows its figures.
            tokens_max: Most tokens that the request may cost: reserved until it is known what it did, and charged
                where that is never known.
            tokens_least: What the prompt costs at least, whatever the server says.

        Yields:
            What is to be called with the completion.

        Raises:
            HeldBack: Probing is paused, or the day's tokens are used up.
        """
        async with self._line:  # first come, first served: results are looked at in the order of the probes
            await self._wait(target, tokens_max)
            self._in_flight += 1
            self._reserved += tokens_max
            began = self._let_through_at = self._clock()
            self._minute.append(began)
        cost, least = tokens_max, tokens_least

        def take_in(completion: Completion) -> None:
            nonlocal cost
            said = completion.prompt_tokens + completion.completion_tokens
            cost = max(said, least + len(completion.text) // _CHARACTERS_PER_TOKEN_MAX) if said else tokens_max
            self._compare(completion)

        try:
            yield take_in
        except TargetError as error:
            cost = cost if error.reason in _MAY_HAVE_COST else 0
            raise
        finally:
            self._in_flight -= 1
            self._ended += 1
            self._reserved -= tokens_max
            if self.rules.tokens_per_day is not None and cost:
                self._ledger.spend(cost)
            took = self._clock() - began
            if 0 < self.window.limit < 1:
                self._rest_until = self._clock() + took * (1 / self.window.limit - 1)

    def _compare(self, completion: Completion) -> None:
        if completion.completion_tokens:
            took = completion.latency_seconds / completion.completion_tokens
            self._lately.append(took)
            if self.window.limit <= 1:
                self._alone.append(took)

    def back_off(self) -> None:
        """Halve the window: the server refused a request, or did not answer it."""
        limit = max(min(1.0, self.window.limit), self.window.limit / 2)
        self.window = replace(self.window, limit=limit, hold_until=self._clock() + STEP_SECONDS)

    async def _wait(self, target: Target, tokens_max: int) -> None:
        while True:
            self._require_allowed(tokens_max)
            await self._look_at(target)
            seconds = self._seconds_to_wait()
            if seconds <= 0:
                return
            await asyncio.sleep(seconds)

    def _require_allowed(self, tokens_max: int) -> None:
        if self._clock() - self._asked_at >= self.rules.look_seconds:
            self._asked_at, self._is_paused = self._clock(), self._paused()
        if self._is_paused:
            raise HeldBack("probing is paused; `alignd resume` lets it go on", reason="paused")
        most = self.rules.tokens_per_day
        if most is not None and self._ledger.spent() + self._reserved + tokens_max > most:
            raise HeldBack(
                f"the budget of {most} tokens a day is used up; probing goes on tomorrow (UTC), "
                "or raise load.tokens_per_day",
                reason="budget",
            )

    def _seconds_to_wait(self) -> float:
        """Return 0 where a request may be sent now, else when to look again."""
        now, rules = self._clock(), self.rules
        while self._minute and now - self._minute[0] >= 60:
            self._minute.popleft()
        if rules.requests_per_minute is not None and len(self._minute) >= rules.requests_per_minute:
            return max(0.001, 60 - (now - self._minute[0]))
        overdue = self._in_flight == 0 and now - self._let_through_at >= rules.least_seconds
        if overdue:
            return 0.0
        if self.window.limit <= 0 or self._in_flight + 1 > max(1.0, self.window.limit):
            return min(0.1, rules.look_seconds)
        return min(self._rest_until - now, rules.look_seconds) if self.window.limit < 1 else 0.0

    async def _look_at(self, target: Target) -> None:
        if not self.rules.yields or self._clock() - self._looked_at < self.rules.look_seconds:
            return
        mine, ended = self._in_flight, self._ended
        load = await target.load()
        now = self._looked_at = self._clock()
        others = 0 if load is None else self._others(load, max(mine, self._in_flight), ended)
        before = self.window.limit
        self._compare_ttft(load)
        slowdown = self._tokens_slower() if load is None else self._users_slower()
        self.window = next_window(self.window, self.rules, load=load, others=others, slowdown=slowdown, now=now)
        if self.window.limit != before:
            self._lately.clear()
            self._with.clear()

    def _compare_ttft(self, load: Load | None) -> None:
        """Put the time to first token since the last look to those with a probe in flight, or to those without."""
        probing, ended = self._in_flight, self._ended
        if load is not None and load.ttft_seconds is not None:
            if probing and self._probing:
                self._with.append(load.ttft_seconds)
            elif not probing and not self._probing and ended == self._ended_before:
                self._without.append(load.ttft_seconds)
        self._probing, self._ended_before = probing, ended

    def _users_slower(self) -> float | None:
        """Return the time to first token beside probes over that without them."""
        if min(len(self._with), len(self._without)) < _LOOKS_LEAST:
            return None
        return statistics.median(self._with) / statistics.median(self._without)

    def _tokens_slower(self) -> float | None:
        """Return seconds per token since the window changed, over those of a probe alone."""
        if len(self._alone) < _ALONE_LEAST or len(self._lately) < self.window.limit + 1:
            return None
        return statistics.median(self._lately) / statistics.median(self._alone)

    def _others(self, load: Load, mine: int, ended: int) -> int:
        """Count requests of others: in flight now, or ended since the last look."""
        others = max(0, load.running + load.waiting - mine)
        if load.finished is not None:
            if self._finished is not None:
                since = load.finished - self._finished
                others = max(others, since - (self._ended - self._ended_at_look))
            self._finished, self._ended_at_look = load.finished, ended
        return others


@dataclass(frozen=True, slots=True)
class PacedTarget:
    """A target whose requests wait for their turn."""

    inner: Target
    pace: Pace

    @property
    def name(self) -> str:
        """The target's name."""
        return self.inner.name

    async def complete(self, probe: Probe) -> Completion:
        """Ask once, when its turn has come.

        Raises:
            HeldBack: Probing is paused, or the day's tokens are used up.
            TargetError: As the target itself.
        """
        prompt = sum(len(m.content.encode("utf-8", "replace")) for m in probe.messages)
        most, least = prompt + probe.sampling.max_tokens, prompt // _CHARACTERS_PER_TOKEN_MAX
        async with self.pace.turn(self.inner, tokens_max=most, tokens_least=least) as take_in:
            try:
                completion = await self.inner.complete(probe)
            except RetryableTargetError:
                self.pace.back_off()
                raise
            take_in(completion)
            return completion

    async def ready(self) -> str:
        """Prove that the expected model answers; one token, at once."""
        return await self.inner.ready()

    async def load(self) -> Load | None:
        """Look how busy the server is."""
        return await self.inner.load()

    async def aclose(self) -> None:
        """Close connections."""
        await self.inner.aclose()
