"""Suffixes found by search against open models (GCG: Zou et al., arXiv:2307.15043).

None are shipped: they are made against a certain model and must come from whoever made them, one a line.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from probes.attack import attack_sha256
from probes.attacks.conversation import AttackOptions, conversation
from probes.attacks.files import read_lines
from probes.behavior import Behavior
from probes.probe import Message

__all__ = ["Options", "SuffixAttack", "make"]


class Options(AttackOptions):
    """Options of the attack."""

    file: Path
    """One suffix a line, in UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuffixAttack:
    """Appends a suffix."""

    suffixes: tuple[str, ...]
    system_prompt: str = ""
    name: str = "suffix"

    @property
    def sha256(self) -> str:
        """Digest of what decides the messages."""
        return attack_sha256("suffix/1", self.suffixes, self.system_prompt)

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the prompt, a space, and the suffix that the seed chooses, as the search puts them together."""
        suffix = random.Random(f"suffix/{seed}").choice(self.suffixes)
        return conversation(f"{behavior.prompt} {suffix}", system=self.system_prompt)


def make(options: Options) -> SuffixAttack:
    """Make the attack of its options.

    Raises:
        AttackError: The file can't be used, or holds no suffix.
    """
    return SuffixAttack(
        suffixes=read_lines(options.file), system_prompt=options.system_prompt, name=options.name or "suffix"
    )
