"""Signed deliveries."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from monitor.web.signature import is_signed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = b"a-secret-of-a-site"


def signature(body: bytes, at: str, secret: bytes = SECRET) -> str:
    return hmac.new(secret, at.encode() + b":" + body, hashlib.sha256).hexdigest()


def stamp(seconds: float = 0) -> str:
    return str(int((NOW + timedelta(seconds=seconds)).timestamp()))


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_what_was_signed_just_now_is_taken(seconds: float) -> None:
    made = signature(b"{}", stamp(seconds))
    assert is_signed(b"{}", signature=made, timestamp=stamp(seconds), secret=SECRET, now=NOW)
    assert is_signed(b"{}", signature=made.upper(), timestamp=stamp(seconds), secret=SECRET, now=NOW)


@pytest.mark.parametrize(
    ("body", "made", "at"),
    [
        (b"{ }", signature(b"{}", stamp()), stamp()),
        (b"{}", signature(b"{}", stamp(), b"another-secret"), stamp()),
        (b"{}", signature(b"{}", stamp(-301)), stamp(-301)),
        (b"{}", signature(b"{}", stamp()), stamp(1)),
        (b"{}", signature(b"{}", ""), ""),
        (b"{}", signature(b"{}", "1e9"), "1e9"),
        (b"{}", signature(b"{}", "9" * 400), "9" * 400),
        (b"{}", "", stamp()),
        (b"{}", "é", stamp()),
    ],
)
def test_anything_else_is_not(body: bytes, made: str, at: str) -> None:
    assert not is_signed(body, signature=made, timestamp=at, secret=SECRET, now=NOW)
