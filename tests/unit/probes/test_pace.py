"""The prober gives way to users, keeps its budgets, can be paused, and never goes blind."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import replace

import pytest

from probes.errors import HeldBack, RetryableTargetError
from probes.pace import Pace, PacedTarget
from probes.probe import Probe
from probes.target import Completion, Load
from probes.testing import FakeTarget, check_target
from probes.window import Rules, Window, next_window
from tests.unit.probes.test_plan import plan

RULES = Rules(concurrency=8)
BUSY = Window(limit=0.2, users_seen_at=99.0)


def load(running: int = 0, waiting: int = 0, cache: float = 0.0, finished: int | None = None) -> Load:
    return Load(running=running, waiting=waiting, kv_cache_ratio=cache, ttft_seconds=None, finished=finished)


def looked(window: Window, found: Load | None, *, others: int = 0, slowdown: float = 1.0, now: float = 100.0) -> Window:
    return next_window(window, RULES, load=found, others=others, slowdown=slowdown, now=now)


def test_a_server_without_users_is_soon_used_to_the_full() -> None:
    window, limits = Window(limit=0.05), []
    for _ in range(5):
        window = looked(window, load(running=3))
        limits.append(window.limit)
    assert limits == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_the_first_user_brings_the_window_down_to_a_share_of_the_time() -> None:
    found = looked(Window(limit=8.0), load(running=9), others=1)
    assert (found.limit, found.users_seen_at, found.hold_until > 100) == (RULES.users_share, 100.0, True)


def test_a_queue_with_users_holds_everything_back() -> None:
    assert looked(BUSY, load(running=5, waiting=1), others=2).limit == 0.0


def test_users_count_as_there_until_they_were_quiet_for_a_while() -> None:
    assert looked(BUSY, load(), now=108.0).limit < 8.0
    assert looked(BUSY, load(), now=109.0).limit == 1.0


def test_beside_users_more_is_taken_only_while_they_do_not_feel_it() -> None:
    grown = looked(BUSY, load(running=2), others=1, slowdown=1.0)
    assert grown.limit == pytest.approx(0.3)
    assert looked(grown, load(running=2), others=1, now=101.0).limit == grown.limit
    assert looked(grown, load(running=2), others=1, now=105.0).limit == pytest.approx(0.45)
    assert looked(BUSY, load(running=2), others=1, slowdown=1.1).limit == BUSY.limit
    assert looked(BUSY, load(running=2), others=1, slowdown=None).limit == BUSY.limit
    assert looked(replace(BUSY, limit=1.0), load(running=2), others=1).limit == 2.0
    wide = Window(limit=6.0, users_seen_at=99.0)
    narrowed = looked(wide, load(running=9), others=1, slowdown=1.2)
    assert narrowed.limit == 3.0
    assert looked(narrowed, load(running=9), others=1, slowdown=1.0, now=108.0).limit == 3.0
    assert looked(replace(BUSY, limit=0.06), load(running=2), others=1, slowdown=2.0).limit == RULES.users_share


def test_a_full_cache_halves_the_window_whoever_fills_it() -> None:
    assert looked(Window(limit=8.0), load(cache=0.9)).limit == 4.0
    assert looked(Window(limit=1.0), load(cache=0.9)).limit == 0.5
    assert looked(BUSY, load(cache=0.9), others=1).limit == 0.1


def test_figures_that_fail_to_come_while_users_are_there_change_nothing() -> None:
    assert looked(BUSY, None) == BUSY
    assert looked(BUSY, None, now=110.0).limit == 2.0


def test_a_server_that_shows_no_figures_is_judged_by_its_latency() -> None:
    assert [looked(Window(limit=2.0), None, slowdown=s).limit for s in (1.0, 2.0, 3.5)] == [4.0, 2.0, 1.0]
    assert looked(Window(limit=8.0), None).limit == 8.0
    assert looked(Window(limit=1.0), None, slowdown=9.0).limit == 1.0


class Clock:
    """Time that jumps to the next sleeper's end when all sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._really = asyncio.sleep
        self._sleepers: list[tuple[float, int]] = []
        self._count = itertools.count()
        monkeypatch.setattr("probes.pace.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        me = (self.now + seconds, next(self._count))
        heapq.heappush(self._sleepers, me)
        while True:
            for _ in range(20):
                await self._really(0)
            if self._sleepers[0] == me:
                heapq.heappop(self._sleepers)
                self.now = max(self.now, me[0])
                return

    def __call__(self) -> float:
        return self.now


class Served(FakeTarget):
    """A server whose answers take a second and whose figures do not end."""

    def __init__(self, clock: Clock, found: Load | None, *, tokens: int = 10, users: int = 0) -> None:
        super().__init__()
        self._clock, self._found, self._tokens, self._users = clock, found, tokens, users
        self.sent: list[float] = []
        self.took: list[float] = []
        self.flying = self.most = 0

    async def complete(self, probe: Probe) -> Completion:
        self.sent.append(self._clock())
        self.flying += 1
        self.most = max(self.most, self.flying)
        seconds = 1.0 + 0.5 * (self.flying - 1) * bool(self._users)
        self.took.append(seconds)
        await self._clock.sleep(seconds)
        self.flying -= 1
        found = await super().complete(probe)
        return Completion(**{k: getattr(found, k) for k in Completion.__slots__} | {
            "completion_tokens": self._tokens, "latency_seconds": seconds})  # fmt: skip

    async def load(self) -> Load | None:
        if self._found is None or not self._users:
            return self._found
        return replace(self._found, running=self._users + self.flying)


async def ask(target: PacedTarget, n: int) -> list[Completion]:
    return list(await asyncio.gather(*(target.complete(p) for p in plan(n, 1.0))))


async def test_beside_users_probes_come_singly_and_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    server = Served(clock, load(), users=3)
    await ask(PacedTarget(server, Pace(Rules(concurrency=8), clock=clock)), 40)
    share = sum(server.took) / (clock.now - 1000)
    assert 0.03 < share < 0.06
    assert server.most == 1


async def test_without_users_all_places_are_used_after_a_short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    server = Served(clock, load(running=0))
    await ask(PacedTarget(server, Pace(Rules(concurrency=4), clock=clock)), 40)
    assert server.most == 4


async def test_a_server_full_of_users_still_gets_a_probe_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    server = Served(clock, load(running=64, waiting=50))
    await ask(PacedTarget(server, Pace(Rules(least_seconds=30.0), clock=clock)), 5)
    assert 4 * 30 <= clock.now - 1000 <= 5 * 32
    assert server.most == 1


async def test_not_yielding_sends_as_many_as_allowed_and_never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    server = Served(clock, load(running=64, waiting=50))
    await ask(PacedTarget(server, Pace(Rules(concurrency=5, yields=False), clock=clock)), 20)
    assert server.most == 5


async def test_no_more_requests_in_a_minute_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    server = Served(clock, None)
    rules = Rules(concurrency=50, requests_per_minute=10, yields=False)
    await ask(PacedTarget(server, Pace(rules, clock=clock)), 35)
    assert all(later - earlier >= 60 for earlier, later in zip(server.sent, server.sent[10:], strict=False))


class Book:
    """A ledger with what others spent in it."""

    def __init__(self, spent: int = 0) -> None:
        self.tokens = spent

    def spent(self) -> int:
        return self.tokens

    def spend(self, tokens: int) -> None:
        self.tokens += tokens


async def test_the_days_tokens_are_a_hard_bound_whoever_spends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, book = Clock(monkeypatch), Book(700)
    server = Served(clock, None, tokens=400)
    rules = Rules(concurrency=8, tokens_per_day=3000, yields=False)
    target = PacedTarget(server, Pace(rules, clock=clock, ledger=book))
    done = await asyncio.gather(*(target.complete(p) for p in plan(8, 1.0)), return_exceptions=True)
    assert {e.reason for e in done if isinstance(e, HeldBack)} == {"budget"}
    assert 700 < book.tokens <= 3000
    book.tokens = 0
    await target.complete(plan(1, 1.0)[0])
    assert book.tokens >= 400


async def test_probes_are_let_through_in_the_order_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    server = Served(clock, load(), users=2)
    target = PacedTarget(server, Pace(Rules(concurrency=8), clock=clock))
    probes = plan(30, 1.0)
    await asyncio.gather(*(target.complete(p) for p in probes))
    assert [p.id for p in server.asked] == [p.id for p in probes]


async def test_a_pause_is_obeyed_within_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, paused = Clock(monkeypatch), [False]
    target = PacedTarget(Served(clock, None), Pace(RULES, clock=clock, paused=lambda: paused[0]))
    await target.complete(plan(1, 1.0)[0])
    paused[0] = True
    clock.now += 1
    with pytest.raises(HeldBack, match="alignd resume"):
        await target.complete(plan(1, 1.0)[0])


async def test_short_requests_between_two_looks_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    counts = iter(range(100, 10_000, 50))
    server = Served(clock, None)
    monkeypatch.setattr(server, "load", lambda: _now(load(finished=next(counts))))
    await ask(PacedTarget(server, Pace(Rules(concurrency=8), clock=clock)), 3)
    assert server.most == 1


async def _now(found: Load) -> Load:
    return found


async def test_a_paced_target_is_a_target() -> None:
    await check_target(PacedTarget(FakeTarget(), Pace(Rules(yields=False))), plan(1, 1.0)[0])


async def test_a_server_that_shows_nothing_is_soon_used_to_the_full(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    server = Served(clock, None)
    await ask(PacedTarget(server, Pace(Rules(concurrency=8), clock=clock)), 60)
    assert server.most == 8
    assert clock.now - 1000 < 25


async def test_a_server_that_refuses_is_asked_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    busy = RetryableTargetError("busy", reason="http_429")
    pace = Pace(Rules(concurrency=8), clock=clock)
    pace.window = replace(pace.window, limit=8.0)
    with pytest.raises(RetryableTargetError):
        await PacedTarget(FakeTarget(faults=[busy]), pace).complete(plan(1, 1.0)[0])
    assert pace.window.limit == 4.0


async def test_a_refusal_beside_users_takes_no_larger_share() -> None:
    pace = Pace(RULES)
    pace.window = replace(pace.window, limit=RULES.users_share)
    pace.back_off()
    assert pace.window.limit == RULES.users_share


def budgeted() -> tuple[Pace, Book]:
    book = Book()
    return Pace(Rules(yields=False, tokens_per_day=10_000), ledger=book), book


@pytest.mark.parametrize(("reason", "charged"), [("timeout", True), ("cut_off", True), ("http_429", False)])
async def test_what_a_lost_answer_may_have_cost_is_charged(reason: str, charged: bool) -> None:
    pace, book = budgeted()
    probe = plan(1, 1.0)[0]
    with pytest.raises(RetryableTargetError):
        await PacedTarget(FakeTarget(faults=[RetryableTargetError("lost", reason=reason)]), pace).complete(probe)
    assert book.tokens == (len(probe.messages[0].content.encode()) + probe.sampling.max_tokens) * charged


@pytest.mark.parametrize("said", [0, 1])
async def test_a_server_that_counts_too_few_tokens_is_charged_all_the_same(said: int) -> None:
    class Lying(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            found = await super().complete(probe)
            return replace(found, text="x" * 1600, completion_tokens=said, prompt_tokens=0)

    pace, book = budgeted()
    await PacedTarget(Lying(), pace).complete(plan(1, 1.0)[0])
    assert book.tokens >= 100
