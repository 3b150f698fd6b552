"""The record of calls: each that changes something, and each that was refused."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

__all__ = ["CallRecord", "log_call"]

log = logging.getLogger("alignd")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call. It holds no query, no header and no body: a secret may be in each.

    Attributes:
        caller: The token's name; ``anonymous`` where none was shown.
        problem: Kind of what was refused, empty where nothing was.
    """

    caller: str
    address: str
    method: str
    path: str
    status: int
    problem: str


def log_call(call: CallRecord) -> None:
    """Write a call to the daemon's log."""
    log.info("api_refused" if call.problem else "api_call", extra=asdict(call))
