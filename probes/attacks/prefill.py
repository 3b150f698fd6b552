"""Prefill: the reply's first words are written for the model, and it goes on from them.

Safety training reaches little beyond the first tokens, so a model that starts to comply often goes on (Qi et al.,
*Safety Alignment Should Be Made More Than Just a Few Tokens Deep*, arXiv:2406.05946; Andriushchenko et al.,
arXiv:2404.02151). It needs an endpoint that continues a last message of the assistant; one that does not refuses the
request, and the probe is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from probes.attack import attack_sha256
from probes.attacks.conversation import AttackOptions, conversation
from probes.attacks.template import DEFAULT_OPENING
from probes.behavior import Behavior
from probes.probe import Message

__all__ = ["Options", "PrefillAttack", "make"]


class Options(AttackOptions):
    """Options of the attack."""

    opening: str = Field(default=DEFAULT_OPENING, pattern=r"\S")
    """First words of the reply where the suite gives none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillAttack:
    """Writes the first words of the reply."""

    opening: str = DEFAULT_OPENING
    system_prompt: str = ""
    name: str = "prefill"

    @property
    def sha256(self) -> str:
        """Digest of what decides the messages."""
        return attack_sha256("prefill/1", self.opening, self.system_prompt)

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the request and the beginning of its reply, without white space at the end, which tokenizes badly."""
        del seed
        opening = behavior.opening.rstrip() or self.opening
        return conversation(behavior.prompt, system=self.system_prompt, opening=opening)


def make(options: Options) -> PrefillAttack:
    """Make the attack of its options."""
    return PrefillAttack(
        opening=options.opening.rstrip(), system_prompt=options.system_prompt, name=options.name or "prefill"
    )
