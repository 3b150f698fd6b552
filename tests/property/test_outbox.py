"""The outbox under any mix of faults, kills and waits: nothing is lost, and nothing new is made up."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.channel import Channel
from monitor.errors import NotificationRefused, NotSent
from monitor.letter import LetterState
from monitor.notifier import Kind, Severity
from monitor.outbox import Outbox
from monitor.stores.sql import SqlStore
from monitor.testing import FakeNotifier
from tests.unit.monitor.notifiers.samples import ESCALATED

FAULTS = st.sampled_from([None, NotSent("away"), NotSent("later", delay_seconds=60), NotificationRefused("never")])
ACTS = st.lists(st.one_of(st.sampled_from(["post", "round", "kill", "wait"]), st.integers(2, 4)), max_size=12)
"""At most 48 letters: a digest shows 50."""


async def play(folder: Path, acts: list[str | int], faults: list[NotSent | None]) -> None:
    now, posted = datetime(2026, 1, 1, tzinfo=UTC), 0
    notifier = FakeNotifier(faults=faults)
    channel = Channel(
        name="team", plugin="fake", notifier=notifier, events=frozenset(Kind), targets=frozenset(),
        severity=Severity.INFO, digest_above=3, max_age_hours=24.0,
    )  # fmt: skip
    with closing(SqlStore(f"sqlite:///{folder}/s.db")) as store:

        def begun() -> Outbox:
            return Outbox(channels=[channel], book=store, clock=lambda: now, draw=lambda: 0.5)

        box = begun()
        for act in [*acts, *["round", "round", "wait"] * (len(faults) + 2)]:
            if act == "kill":
                await box.aclose()
                box = begun()
            elif act == "wait":
                now += timedelta(hours=1)
            elif act == "round":
                await box.round()
                await asyncio.sleep(0)
                await box.drain()
            else:
                for _ in range(act if isinstance(act, int) else 1):
                    posted += 1
                    store.post(box.letters(replace(ESCALATED, id=f"i.{posted}", at=now)))
        await box.aclose()
        dead = [letter.notification for letter in store.letters("team", state=LetterState.DEAD)]
        assert store.letters("team") == ()
    told = [part.id for n in notifier.got for part in (n.parts or (n,))]
    given_up = [part.id for n in dead for part in (n.parts or (n,))]
    assert sorted(told + given_up) == sorted(f"i.{n + 1}" for n in range(posted)), "each once: no kill hit a send"


@given(ACTS, st.lists(FAULTS, max_size=8))
@settings(max_examples=20, deadline=None)
def test_each_is_told_or_is_a_dead_letter(acts: list[str | int], faults: list[NotSent | None]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), acts, faults))
