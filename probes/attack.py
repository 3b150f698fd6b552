"""Port: how a behavior is asked."""

from __future__ import annotations

from typing import Protocol

from probes.behavior import Behavior
from probes.probe import Message

__all__ = ["Attack"]


class Attack(Protocol):
    """Turns a behavior into messages. Pure and seeded.

    A last message of the assistant is the beginning of the reply: the target goes on from it. Between two messages of
    the user that follow each other the target's own reply is put, so that they make a conversation.
    """

    @property
    def name(self) -> str:
        """Stable name, used in metrics labels and records."""
        ...

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the messages to send for this behavior."""
        ...
