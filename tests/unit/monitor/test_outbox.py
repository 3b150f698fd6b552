"""The outbox: at least once, each channel on its own, and one word where there are many."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.channel import Channel
from monitor.errors import NotificationRefused, NotSent, StoreError
from monitor.letter import Letter, LetterState
from monitor.notifier import Kind, Notification, Severity
from monitor.outbox import Outbox
from monitor.stores.sql import SqlStore
from monitor.testing import FakeNotifier
from tests.unit.monitor.notifiers.samples import ESCALATED


class Cramped(SqlStore):
    """A store whose disk may be full."""

    full = False

    def settle(self, letters: Sequence[Letter], *, digest: Letter | None = None) -> None:
        if self.full:
            raise StoreError("no room")
        super().settle(letters, digest=digest)


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Cramped]:
    with closing(Cramped(f"sqlite:///{tmp_path}/s.db")) as opened:
        yield opened


def channel(name: str, notifier: FakeNotifier, *, digest_above: int = 5) -> Channel:
    return Channel(
        name=name, plugin="fake", notifier=notifier, events=frozenset(Kind), targets=frozenset(),
        severity=Severity.INFO, digest_above=digest_above, max_age_hours=1.0,
    )  # fmt: skip


def outbox(store: SqlStore, clock: Hand, *channels: Channel) -> Outbox:
    return Outbox(channels=channels, book=store, clock=clock, draw=lambda: 0.5)


def told(n: int, at: datetime) -> Notification:
    return replace(ESCALATED, id=f"i.{n}", at=at)


async def rounds(box: Outbox, n: int = 1) -> None:
    """Send what is due; a second round picks up what the first one began."""
    for _ in range(2 * n):
        await box.round()
        await box.drain()


async def test_each_channel_that_wants_it_gets_it_once(store: SqlStore) -> None:
    clock, team, duty = Hand(), FakeNotifier(), FakeNotifier()
    box = outbox(store, clock, channel("team", team), replace(channel("duty", duty), targets=frozenset({"other"})))
    store.post(box.letters(told(1, clock.now)))
    await rounds(box, 3)
    assert [n.id for n in team.got] == ["i.1"]
    assert duty.asked == []
    assert (box.to_json()[0]["sent"], box.to_json()[0]["pending"]) == (1, 0)


async def test_a_channel_that_hangs_holds_no_other_and_ends_with_the_daemon(store: SqlStore) -> None:
    clock, dead, live = Hand(), FakeNotifier(hangs=True), FakeNotifier()
    box = outbox(store, clock, channel("dead", dead), channel("live", live))
    for n in range(3):
        store.post(box.letters(told(n, clock.now)))
        for _ in range(3):
            await box.round()
            await asyncio.sleep(0)
    assert [n.id for n in live.got] == ["i.0", "i.1", "i.2"]
    assert [n.id for n in dead.asked] == ["i.0"], "one at a time"
    await box.aclose()
    again = outbox(store, clock, channel("dead", revived := FakeNotifier()), channel("live", live))
    await rounds(again)
    assert [n.id for n in revived.got] == ["i.0", "i.1", "i.2"]
    assert len(live.got) == 3


async def test_what_failed_is_tried_again_ever_more_seldom_and_then_is_dead(store: SqlStore) -> None:
    clock, team = Hand(), FakeNotifier(faults=[NotSent(f"fault {n}") for n in range(99)])
    box = outbox(store, clock, channel("team", team))
    store.post(box.letters(told(1, clock.now)))
    began, at = clock.now, []
    while store.letters("team"):
        before = len(team.asked)
        await rounds(box)
        at += [(clock.now - began).total_seconds()] * (len(team.asked) - before)
        clock.pass_(1)
    waits = [b - a for a, b in pairwise(at)]
    assert waits[:8] == [4, 8, 15, 30, 60, 120, 240, 480], "three quarters of 5 s, doubled, in whole seconds"
    assert at[-1] >= 3600 > at[-2], "the first try after its age is the last"
    (letter,) = store.letters("team", state=LetterState.DEAD)
    assert (letter.failures, letter.why) == (len(team.asked), f"fault {len(team.asked) - 1}")
    said = box.to_json()[0]
    assert (said["pending"], said["dead"], said["why"]) == (0, 1, letter.why)
    assert said["outcomes"] == {"sent": 0, "failed": len(team.asked), "digested": 0, "dead": 1}


async def test_patience_that_is_asked_for_is_kept(store: SqlStore) -> None:
    clock, team = Hand(), FakeNotifier(faults=[NotSent("429", delay_seconds=120)])
    box = outbox(store, clock, channel("team", team))
    store.post(box.letters(told(1, clock.now)))
    await rounds(box)
    clock.pass_(119)
    await rounds(box)
    assert len(team.asked) == 1
    clock.pass_(1)
    await rounds(box)
    assert len(team.got) == 1


async def test_a_message_that_is_refused_holds_no_other(store: SqlStore) -> None:
    clock, team = Hand(), FakeNotifier(faults=[NotificationRefused("422")])
    box = outbox(store, clock, channel("team", team))
    store.post([*box.letters(told(1, clock.now)), *box.letters(told(2, clock.now))])
    await rounds(box)
    assert [n.id for n in team.got] == ["i.2"]
    assert [d.notification.id for d in store.letters("team", state=LetterState.DEAD)] == ["i.1"]


async def test_a_letter_that_always_fails_lets_others_pass(store: SqlStore) -> None:
    clock = Hand()
    team = FakeNotifier(faults=[NotSent("500")])
    box = outbox(store, clock, channel("team", team))
    store.post([*box.letters(told(1, clock.now)), *box.letters(told(2, clock.now))])
    await rounds(box)
    assert len(team.asked) == 1, "the channel rests"
    clock.pass_(4)
    await rounds(box)
    assert [n.id for n in team.got] == ["i.1", "i.2"]


async def test_many_at_once_are_one(store: SqlStore) -> None:
    clock, team = Hand(), FakeNotifier()
    box = outbox(store, clock, channel("team", team))
    store.post([x for n in range(40) for x in box.letters(replace(told(n, clock.now), target=f"t{n}"))])
    await rounds(box)
    (digest,) = team.got
    assert (digest.kind, digest.count, len(digest.parts)) == (Kind.DIGEST, 40, 40)
    assert box.to_json()[0]["outcomes"] == {"sent": 1, "failed": 0, "digested": 40, "dead": 0}


async def test_a_channel_that_comes_back_brings_one_digest_of_what_it_missed(store: SqlStore) -> None:
    clock, team = Hand(), FakeNotifier(faults=[NotSent("away")] * 4)
    box = outbox(store, clock, channel("team", team, digest_above=2))
    for n in range(5):
        store.post(box.letters(told(n, clock.now)))
        await rounds(box)
        clock.pass_(30)
    for _ in range(20):
        await rounds(box)
        clock.pass_(30)
    assert sorted(p.id for n in team.got for p in (n.parts or (n,))) == [f"i.{n}" for n in range(5)]
    assert len(team.got) < 5
    assert store.letters("team") == ()


async def test_what_could_not_be_marked_is_sent_again_under_the_same_id(store: Cramped) -> None:
    clock, team = Hand(), FakeNotifier()
    box = outbox(store, clock, channel("team", team))
    store.post(box.letters(told(1, clock.now)))
    store.full = True
    await box.round()
    with pytest.raises(StoreError, match="no room"):
        await box.drain()
    with pytest.raises(StoreError, match="no room"):
        await box.round()
    store.full = False
    await rounds(box)
    assert len(team.got) == 1, "while a disk is full, people are not told the same each second"
    clock.pass_(5)
    await rounds(box)
    assert [n.id for n in team.got] == ["i.1", "i.1"], "a receiver tells by the id"


async def test_a_clock_that_is_set_back_keeps_nothing_waiting(store: SqlStore) -> None:
    clock, team = Hand(), FakeNotifier(faults=[NotSent("away")])
    box = outbox(store, clock, channel("team", team))
    store.post(box.letters(told(1, clock.now)))
    await rounds(box)
    clock.pass_(-86_400)
    await rounds(box)
    assert len(team.got) == 1


async def test_old_letters_are_forgotten(store: SqlStore) -> None:
    clock = Hand()
    box = outbox(store, clock, channel("team", FakeNotifier()))
    store.post([*box.letters(told(1, clock.now)), Letter(channel="gone", notification=ESCALATED, not_before=clock.now)])
    clock.pass_(29 * 86_400)
    await box.forget()
    assert set(store.standings()) == {"team", "gone"}
    clock.pass_(2 * 86_400)
    await box.forget()
    assert store.standings() == {}


async def test_a_plugin_with_a_fault_of_its_own_rests_too(store: Cramped) -> None:
    class Broken(FakeNotifier):
        async def send(self, notification: Notification) -> None:
            await super().send(notification)
            raise ZeroDivisionError

    clock, notifier = Hand(), Broken()
    box = outbox(store, clock, channel("chat", notifier))
    store.post(box.letters(told(1, clock.now)))
    for seconds in (0, 1, 1, 1, 1):
        clock.pass_(seconds)
        await box.round()
        with suppress(ZeroDivisionError):
            await box.drain()
        with suppress(ZeroDivisionError):
            await box.round()
    assert len(notifier.got) == 2, "people are not told the same each second"
