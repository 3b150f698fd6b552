"""Port: how a behavior is asked."""

from __future__ import annotations

import hashlib
import json
from typing import Protocol

from probes.behavior import Behavior
from probes.probe import Message

__all__ = ["Attack", "attack_sha256"]


class Attack(Protocol):
    """Turns a behavior into messages. Pure and seeded.

    A last message of the assistant is the beginning of the reply: the target goes on from it. Between two messages of
    the user that follow each other the target's own reply is put, so that they make a conversation.
    """

    @property
    def name(self) -> str:
        """Stable name, used in metrics labels and records."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of everything that decides the messages: rules, options, and the texts of files.

        Two attacks with equal digests ask the same of the same behavior and seed; it is part of the key under which
        figures are compared.
        """
        ...

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the messages to send for this behavior."""
        ...


def attack_sha256(rules: str, *decides: object) -> str:
    """Digest of what decides an attack's messages.

    Args:
        rules: Name and version of the code that makes the messages, e.g. ``prefill/1``; the version is raised when
            that code makes other messages.
        decides: Options and texts, in plain values that JSON can hold.
    """
    return hashlib.sha256(json.dumps([rules, *decides], sort_keys=True).encode()).hexdigest()
