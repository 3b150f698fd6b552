"""What all attacks share: two options, and the order of messages in a conversation."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from probes.probe import Message

__all__ = ["AttackOptions", "Label", "conversation"]

Label = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9-]{0,31})?$")]
"""A label of metrics: up to 32 lower-case letters, digits and dashes; empty for the plugin's own name."""


class AttackOptions(BaseModel):
    """Options that every attack has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system_prompt: str = ""
    """The deployment's own system prompt, sent before the request where it is not empty."""
    name: Label = ""
    """Name in metrics and records where one plugin is used twice; the plugin's own where it is empty."""


def conversation(*user: str, system: str = "", opening: str = "") -> tuple[Message, ...]:
    """Put messages in the order of a conversation.

    Args:
        user: What the user says, one message after the other; the target answers between them.
        system: Sent first where it is not empty.
        opening: The beginning of the last reply, sent last where it is not empty.
    """
    said = [Message(role="user", content=text) for text in user]
    if system:
        said.insert(0, Message(role="system", content=system))
    if opening:
        said.append(Message(role="assistant", content=opening))
    return tuple(said)
