"""What the plugin refuses, and why it does not start."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Reason", "Refused", "StartError"]


class Reason(StrEnum):
    """Why a call was refused: ``error`` in the answer and a label of the metric; stable."""

    REQUEST = "request"
    """The body is not what the route takes."""
    TOKEN = "token"  # noqa: S105  (the name of a reason)
    """The admin token is wrong or missing."""
    CHECKPOINT = "checkpoint"
    """The release's folder is not what its manifest says, lies elsewhere, or is none for this server."""
    STAGE = "stage"
    """vLLM did not load it, it failed the self-test, or it is in no state for what was asked."""
    EXPECT = "expect"
    """Another release is active than the caller took for active."""
    FENCED = "fenced"
    """Another holder took over."""
    DISK = "disk"
    """The state can't be written."""
    ENGINE = "engine"
    """A user's request would have ended the engine."""


_STATUS = {Reason.REQUEST: 400, Reason.TOKEN: 401, Reason.DISK: 507}


class Refused(Exception):
    """A call that changed nothing. The message names the thing and the way out."""

    def __init__(self, reason: Reason, message: str) -> None:
        """Take why."""
        super().__init__(message)
        self.reason = reason

    @property
    def status(self) -> int:
        """HTTP status of the answer: 409 but for a bad body, a bad token and a full disk."""
        return _STATUS.get(self.reason, 409)


class StartError(Exception):
    """The server must not start like this; the message says what to change."""
