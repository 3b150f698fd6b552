"""The direct request: the behavior's prompt, as it is."""

from __future__ import annotations

from dataclasses import dataclass

from probes.attack import attack_sha256
from probes.attacks.conversation import AttackOptions, conversation
from probes.behavior import Behavior
from probes.probe import Message

__all__ = ["DirectAttack", "Options", "make"]


class Options(AttackOptions):
    """Options of the attack."""


@dataclass(frozen=True, slots=True)
class DirectAttack:
    """Asks without any dressing."""

    system_prompt: str = ""
    name: str = "direct"

    @property
    def sha256(self) -> str:
        """Digest of what decides the messages."""
        return attack_sha256("direct/1", self.system_prompt)

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the request, after the system prompt where there is one; the seed decides nothing here."""
        del seed
        return conversation(behavior.prompt, system=self.system_prompt)


def make(options: Options) -> DirectAttack:
    """Make the attack of its options."""
    return DirectAttack(system_prompt=options.system_prompt, name=options.name or "direct")
