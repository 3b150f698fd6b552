"""Attacks by template: a text with ``{prompt}`` in it, chosen by the seed.

Templates are filled in one pass and by nothing but their placeholders, so that braces in a prompt or elsewhere in a
template mean themselves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from probes.attack import attack_sha256
from probes.attacks.conversation import conversation
from probes.behavior import Behavior
from probes.errors import AttackError
from probes.probe import Message

__all__ = ["DEFAULT_OPENING", "TemplateAttack", "fill", "require_placeholder"]

DEFAULT_OPENING = "Sure, here is"
"""How a reply that complies begins, where the suite does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateAttack:
    """Fills one of its templates with the prompt.

    Attributes:
        templates: One or more; ``{prompt}`` stands for the prompt, ``{opening}`` for the first words of a reply that
            complies.
        opening: Of behaviors that have none.
    """

    name: str
    templates: tuple[str, ...]
    opening: str = DEFAULT_OPENING
    system_prompt: str = ""

    @property
    def sha256(self) -> str:
        """Digest of what decides the messages."""
        return attack_sha256("template/1", self.templates, self.opening, self.system_prompt)

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        """Return the prompt in the template that the seed chooses."""
        template = random.Random(f"template/{seed}").choice(self.templates)
        opening = behavior.opening.strip() or self.opening
        return conversation(fill(template, prompt=behavior.prompt, opening=opening), system=self.system_prompt)


def fill(template: str, **values: str) -> str:
    """Put values in the place of their names in braces; all else stays as it is."""
    names = "|".join(values)
    return re.sub(rf"\{{({names})\}}", lambda match: values[match[1]], template)


def require_placeholder(templates: Sequence[str], *, where: object, placeholder: str = "{prompt}") -> None:
    """Refuse templates that would not ask anything.

    Raises:
        AttackError: One of them has no place for the prompt.
    """
    for number, template in enumerate(templates, 1):
        if placeholder not in template:
            raise AttackError(f"{where}, text {number}: {placeholder} is not in it; put it where the prompt belongs")
