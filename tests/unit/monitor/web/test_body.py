"""Bodies are read whole, and no further than they may go."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from monitor.web.body import BODY_MAX, Receive, check_text, read_whole, replayed
from monitor.web.problems import Problem


def sent(*parts: bytes, ends: bool = True) -> Receive:
    messages = [{"type": "http.request", "body": p, "more_body": True} for p in parts]
    if ends and messages:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> MutableMapping[str, Any]:
        found = next(waiting, None)
        return found or {"type": "http.disconnect"}

    return receive


async def never() -> MutableMapping[str, Any]:
    await asyncio.Event().wait()
    return {}


async def test_parts_are_put_together_and_given_once() -> None:
    receive = sent(b"a", b"", b"bc")
    body = await read_whole(receive, announced="", seconds=1)
    assert body == b"abc"
    again = replayed(body, receive)
    assert await again() == {"type": "http.request", "body": b"abc", "more_body": False}
    assert await again() == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("receive", "announced", "status"),
    [
        (sent(b"a", ends=False), "", 400),
        (never, "", 408),
        (never, str(BODY_MAX + 1), 413),
        (sent(b"x" * BODY_MAX, b"x", ends=False), "", 413),
    ],
)
async def test_what_is_cut_off_slow_or_too_large_is_refused(receive: Receive, announced: str, status: int) -> None:
    with pytest.raises(Problem) as caught:
        await read_whole(receive, announced=announced, seconds=0.01)
    assert caught.value.status == status


async def test_the_largest_is_taken() -> None:
    assert len(await read_whole(sent(b"x" * BODY_MAX), announced=str(BODY_MAX), seconds=1)) == BODY_MAX


@pytest.mark.parametrize(
    "body",
    [
        rb'{"a": "\ud800"}', rb'{"\uDFFF": 1}', rb'["\ud83d\ud83d"]', b'"\xed\xa0\x80"', b'"\xff"',
        '{"a": "\\ud800"}'.encode("utf-16"), '{"a": "\\ud800"}'.encode("utf-16-le"), b'"\0\\ud"',
    ],
)  # fmt: skip
def test_half_a_character_is_no_text(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        check_text(body)
    assert (caught.value.status, caught.value.kind) == (400, "no-text")


@pytest.mark.parametrize(
    "body", [b"", rb'{"a": "\ud83d\ude00"}', rb'"\\ud800"', '"é😀"'.encode(), rb'{"\ud8', rb'["\ud8"' + b"[" * 99_999]
)
def test_whole_characters_and_what_is_no_json_go_on(body: bytes) -> None:
    check_text(body)
