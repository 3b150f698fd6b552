"""The direct request: the behavior's prompt, as it is."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from probes.behavior import Behavior
from probes.probe import Message

__all__ = ["DirectAttack", "Options", "make"]


class Options(BaseModel):
    """Options of the attack."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system_prompt: str = ""
    """The deployment's own system prompt, sent before the request where it is not empty."""


@dataclass(frozen=True, slots=True)
class DirectAttack:
    """Asks without any dressing."""

    system_prompt: str = ""
    name: str = "direct"

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the request, after the system prompt where there is one; the seed decides nothing here."""
        del seed
        user = Message(role="user", content=behavior.prompt)
        if not self.system_prompt:
            return (user,)
        return (Message(role="system", content=self.system_prompt), user)


def make(options: Options) -> DirectAttack:
    """Make the attack of its options."""
    return DirectAttack(system_prompt=options.system_prompt)
