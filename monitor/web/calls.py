"""The record of calls: each that changes something, that shows transcripts, or that was refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from monitor.audit import STRANGER, AuditEntry
from monitor.errors import StoreError
from monitor.store import AuditBook
from monitor.web.limits import Limits

__all__ = ["PUT_DOWN", "CallBook", "CallRecord"]

log = logging.getLogger("alignd")

PUT_DOWN = "alignd.put_down"
"""Where the scope of a call says that it is to be put down, though it changes nothing and was not refused."""

_STRANGERS_PER_MINUTE = 120
"""Refusals of callers without a token that the audit log takes: a flood of them must not fill the disk for good. The
daemon's own log has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call. It holds no query, no header and no body: a secret may be in each.

    Attributes:
        caller: The token's name; ``anonymous`` where none was shown.
        problem: Kind of what was refused, empty where nothing was.
        path: Empty where no request could be read.
    """

    caller: str
    address: str
    method: str
    path: str
    status: int
    problem: str

    @property
    def action(self) -> str:
        """Its stable name."""
        return "api_refused" if self.problem else "api_call"


class CallBook:
    """Puts calls down in the daemon's log and in the audit log."""

    def __init__(
        self, audit: AuditBook, *, clock: Callable[[], datetime], steady: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the audit log, the time, and a clock that nobody sets."""
        self._audit = audit
        self._clock = clock
        self._strangers = Limits(per_minute=_STRANGERS_PER_MINUTE, clock=steady)

    def __call__(self, call: CallRecord) -> None:
        """Put a call down; where the store can't take it, the daemon's log alone has it.

        Whoever refuses a call, or cuts a connection off, is not to be kept from it.
        """
        log.info(call.action, extra=asdict(call))
        if call.caller == STRANGER and self._strangers.take(""):
            return
        details = {k: v for k, v in asdict(call).items() if k not in {"caller", "path"}}
        entry = AuditEntry(
            at=self._clock(), actor=call.caller, action=call.action, subject=call.path or call.address, details=details
        )
        try:
            self._audit.append_audit(entry)
        except StoreError as error:
            log.warning("call_not_in_audit_log", extra={"address": call.address, "why": str(error)})
