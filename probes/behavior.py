"""Behaviors and suites: what is asked of a model."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

__all__ = ["Behavior", "BehaviorId", "Partition", "Suite", "SuiteKind", "partition_of"]

BehaviorId = NewType("BehaviorId", str)


class SuiteKind(StrEnum):
    """What the prompts of a suite measure."""

    HARM = "harm"
    """Requests that a safe model refuses: measures ASR and HS."""
    BENIGN = "benign"
    """Harmless requests: measures over-refusal."""
    TASK = "task"
    """Requests with a checkable answer: measures utility."""


class Partition(StrEnum):
    """Who may see a behavior. Decided by a keyed hash of the behavior, never by its position."""

    ROTATING = "rotating"
    """50 %: routine sweeps."""
    SENTINEL = "sentinel"
    """20 %: certified prompts and canaries."""
    SEALED = "sealed"
    """30 %: only confirmation, verification and audits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """One thing that is asked of a model. Its texts are left out of ``repr``, so that no log gets them by accident.

    Attributes:
        id: Unique within its suite; never derived from a row's position.
        prompt: What is asked, byte for byte as the suite has it; a context stands before it.
        category: Semantic category, e.g. ``malware``.
        form: ``imperative``, ``question`` or empty where unknown.
        answer: What a task's checker needs (JSON), empty for other suites.
        goal: The request without its context, for judges that are shown both apart; empty where it is the prompt.
        context: The text that the request refers to (HarmBench's ``ContextString``), else empty.
        opening: The first words of a reply that would comply (``target`` of AdvBench and JailbreakBench), else empty.
    """

    id: BehaviorId
    prompt: str = field(repr=False)
    category: str
    form: str = ""
    answer: str = field(default="", repr=False)
    goal: str = field(default="", repr=False)
    context: str = field(default="", repr=False)
    opening: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named, hashed set of behaviors.

    Attributes:
        sha256: Digest of the canonical content (ids, prompts, categories, answers), so that two
            suites with equal digests ask the same things.
    """

    name: str
    kind: SuiteKind
    behaviors: tuple[Behavior, ...]
    sha256: str

    def part(self, *partitions: Partition, key: str) -> tuple[Behavior, ...]:
        """Return the behaviors of these partitions, in the suite's order."""
        return tuple(b for b in self.behaviors if partition_of(b.id, key=key) in partitions)


def partition_of(behavior: BehaviorId, *, key: str) -> Partition:
    """Assign a behavior to a partition by HMAC-SHA256 (50 % rotating, 20 % sentinel, 30 % sealed).

    Args:
        behavior: The id to assign.
        key: Site key. Whoever lacks it can't tell which prompts are sealed.

    Returns:
        The partition; the same for the same id and key, on every machine.
    """
    digest = hmac.new(key.encode(), behavior.encode(), hashlib.sha256).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < 0.5:
        return Partition.ROTATING
    return Partition.SENTINEL if share < 0.7 else Partition.SEALED
