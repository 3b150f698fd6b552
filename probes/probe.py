"""A probe: one behavior, dressed by one attack, with everything that decides the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

from probes.behavior import Behavior

__all__ = ["Message", "Probe", "ProbeId", "Sampling"]

ProbeId = NewType("ProbeId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message; ``role`` is ``system``, ``user`` or ``assistant``. The content is left out of ``repr``."""

    role: str
    content: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the target is to answer. ASR depends on ``max_tokens``: it is pinned and recorded."""

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_logprobs: int = 0
    """How many alternatives of the first token are asked for, with log-probabilities; 0 asks for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One request to a target.

    Attributes:
        id: Unique within a sweep; derived from sweep, behavior and repetition.
        attack: Name of the attack that made ``messages`` of the behavior's prompt.
        seed: Sent with the request and stored with the result.
        probability: With which the draw chose this behavior and attack; 1 where nothing was drawn.
        share: Of this behavior and attack in what is sampled from, so that share / probability weighs the outcome.
        stream: Why it was drawn: ``survey`` (as the suite is), ``hunt`` (where evidence was) or ``sentinel``.
    """

    id: ProbeId
    suite: str
    behavior: Behavior
    attack: str
    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    probability: float = 1.0
    share: float = 1.0
    stream: str = "survey"
