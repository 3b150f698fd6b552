"""A probe of several turns is asked turn by turn, each with what was said before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from probes.conversation import converse, turns
from probes.errors import HeldBack, PermanentTargetError, RetryableTargetError, TargetError
from probes.probe import Message, Probe
from probes.testing import REFUSES, FakeTarget
from tests.unit.probes.test_plan import plan


def message(role: str, content: str = "x") -> Message:
    return Message(role=role, content=content)


def probe(*roles: str) -> Probe:
    return replace(plan(1, 1.0)[0], messages=tuple(message(r, f"{r}{i}") for i, r in enumerate(roles)))


@pytest.mark.parametrize(
    ("roles", "parts"),
    [
        (["user"], [1]), (["system", "user"], [2]), (["user", "assistant"], [2]),
        (["user", "assistant", "user"], [3]), (["user", "user"], [1, 1]),
        (["system", "user", "user", "user"], [2, 1, 1]),
        (["user", "user", "assistant"], [1, 2]),
    ],
)  # fmt: skip
def test_the_target_speaks_between_two_messages_of_the_user(roles: list[str], parts: list[int]) -> None:
    assert [len(p) for p in turns([message(r) for r in roles])] == parts


async def test_each_turn_carries_what_was_said_and_the_last_reply_counts() -> None:
    fake = FakeTarget()
    asked, done = await converse(fake, probe("system", "user", "user"))
    assert asked == fake.asked[1]
    first, second = ([m.role for m in p.messages] for p in fake.asked)
    assert (first, second) == (["system", "user"], ["system", "user", "assistant", "user"])
    assert fake.asked[1].messages[2].content == REFUSES
    assert done.completion_tokens == 12


async def test_a_single_turn_is_sent_as_it_is() -> None:
    fake = FakeTarget()
    asked = probe("user")
    await converse(fake, asked)
    assert fake.asked == [asked]


async def test_two_releases_in_one_conversation_are_refused() -> None:
    with pytest.raises(PermanentTargetError, match="a@1 and b@2") as caught:
        await converse(FakeTarget(releases=["a@1", "b@2"]), probe("user", "user"))
    assert caught.value.reason == "mixed_release"


async def test_each_turn_is_asked_once_more_and_what_is_held_back_is_not() -> None:
    busy = RetryableTargetError("busy", reason="http_503")
    fake = FakeTarget(faults=[busy, None, busy, None])
    await converse(fake, probe("user", "user"))
    assert len(fake.asked) == 4
    held = FakeTarget(faults=[HeldBack("paused", reason="paused")])
    with pytest.raises(HeldBack):
        await converse(held, probe("user"))
    assert len(held.asked) == 1


async def test_what_each_request_came_to_is_told() -> None:
    busy = RetryableTargetError("busy", reason="http_503")
    heard: list[TargetError | None] = []
    await converse(FakeTarget(faults=[busy, None, None]), probe("user", "user"), heard.append)
    assert heard == [busy, None, None]
