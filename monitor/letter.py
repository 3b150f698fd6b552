"""Letters: notifications on their way to one channel each; conditions that they tell of; the port that keeps both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from monitor.notifier import Kind, Notification

__all__ = ["Condition", "Letter", "LetterBook", "LetterState", "Standing"]


class LetterState(StrEnum):
    """What has become of a letter."""

    PENDING = "pending"
    SENT = "sent"
    DIGESTED = "digested"
    """It went into a digest, which is a letter of its own."""
    DEAD = "dead"
    """It will not be sent any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A notification for one channel. A channel gets one of each id.

    Attributes:
        id: Its place in the outbox; 0 before it is put down.
        failures: Tries that failed.
        not_before: When it may be tried again.
        why: What stood in the way last.
    """

    channel: str
    notification: Notification
    not_before: datetime
    id: int = 0
    state: LetterState = LetterState.PENDING
    failures: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the letters of one channel stand.

    Attributes:
        counts: Letters that are still kept, by state.
        oldest_at: When the oldest pending one was put down; ``None`` where none is pending.
        why: What stood in the way of the letter that failed last, pending or dead.
    """

    counts: Mapping[LetterState, int] = field(default_factory=dict)
    oldest_at: datetime | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that lasts and was told of.

    Attributes:
        subject: What of the target it is about, e.g. a replica; empty where it is the target itself.
    """

    target: str
    kind: Kind
    subject: str = ""


class LetterBook(Protocol):
    """The outbox: letters to channels, and the conditions that were told of."""

    def post(
        self, letters: Sequence[Letter], *, began: Sequence[Condition] = (), ended: Sequence[Condition] = ()
    ) -> None:
        """Put letters down, with the conditions that they tell of, in one transaction.

        A letter whose channel has one of the same notification stays as it is.
        """
        ...

    def letters(
        self, channel: str, *, state: LetterState = LetterState.PENDING, limit: int = 1000
    ) -> tuple[Letter, ...]:
        """List a channel's letters, the oldest first."""
        ...

    def settle(self, letters: Sequence[Letter], *, digest: Letter | None = None) -> None:
        """Write what has become of letters, with the digest that they went into, in one transaction."""
        ...

    def standings(self) -> Mapping[str, Standing]:
        """Say how the letters of each channel stand."""
        ...

    def conditions(self) -> frozenset[Condition]:
        """Return the conditions that were told of and are not over."""
        ...

    def forget_letters(self, before: datetime) -> None:
        """Remove the letters of notifications from before."""
        ...
