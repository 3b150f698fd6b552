"""Port: how a behavior is asked."""

from __future__ import annotations

from typing import Protocol

from probes.behavior import Behavior
from probes.probe import Message

__all__ = ["Attack"]


class Attack(Protocol):
    """Turns a behavior into messages. Pure and seeded."""

    @property
    def name(self) -> str:
        """Stable name, used in metrics labels and records."""
        ...

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the messages to send for this behavior."""
        ...
