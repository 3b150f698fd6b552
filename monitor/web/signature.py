"""Signed deliveries: HMAC-SHA256 over the time and the body, as Grafana's contact points make it. Pure."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

__all__ = ["SIGNATURE", "TIMESTAMP", "is_signed"]

SIGNATURE, TIMESTAMP = "x-grafana-alerting-signature", "x-grafana-alerting-timestamp"
_TOLERANCE_SECONDS = 300.0
"""A delivery that was recorded can't be played again later; clocks differ by less."""


def is_signed(body: bytes, *, signature: str, timestamp: str, secret: bytes, now: datetime) -> bool:
    """Whether a body was signed with the secret, just now.

    Args:
        signature: Hexadecimal HMAC over the timestamp, a colon and the body.
        timestamp: Seconds since 1970.
    """
    made = hmac.new(secret, timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    whole = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12
    fresh = whole and abs(now.timestamp() - int(timestamp)) <= _TOLERANCE_SECONDS
    return hmac.compare_digest(made.encode(), signature.lower().encode()) and fresh
