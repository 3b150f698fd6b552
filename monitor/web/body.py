"""The body of a call, read whole before anything looks at it: bounded in size and in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from monitor.web.problems import Problem

__all__ = ["BODY_MAX", "Receive", "check_text", "read_whole", "replayed"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_MAX = 1 << 20
"""Bytes: Alertmanager's largest groups stay well below it."""


async def read_whole(receive: Receive, *, announced: str, seconds: float) -> bytes:
    """Read a body.

    Args:
        announced: Its ``Content-Length``, empty where it has none.
        seconds: Until it must be here, from the first byte to the last.

    Raises:
        Problem: It is too large, too slow, or its sender went away.
    """
    if announced.isdigit() and int(announced) > BODY_MAX:
        raise _too_large()
    read = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(status=400, kind="cut-off", title="Cut off", detail="the body ended before its end")
                read += message.get("body", b"")
                if len(read) > BODY_MAX:
                    raise _too_large()
                if not message.get("more_body"):
                    return bytes(read)
    except TimeoutError:
        raise Problem(
            status=408, kind="slow", title="Too slow", detail=f"the body was not here after {seconds:g} s",
            headers={"Connection": "close"},
        ) from None  # fmt: skip


def check_text(body: bytes) -> None:
    """Refuse JSON whose texts can't be written again: Python takes the escape of half a character, and UTF-16.

    Raises:
        Problem: It is not UTF-8, or not once its escapes are read.
    """
    try:
        text = body.decode()
        whole = "\0" not in text
        if whole and "\\ud" in text.lower():
            json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeError:
        whole = False
    except (ValueError, RecursionError):
        return  # no JSON, which the application says
    if not whole:
        raise Problem(
            status=400, kind="no-text", title="Not UTF-8", detail="the body holds bytes or escapes that are no UTF-8"
        )


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then whatever else comes."""
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large() -> Problem:
    return Problem(
        status=413, kind="too-large", title="Too large", detail=f"a body may have {BODY_MAX} bytes; send less at once",
        headers={"Connection": "close"},
    )  # fmt: skip
