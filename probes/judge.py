"""Port: what a completion amounts to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from probes.probe import Probe, ProbeId
from probes.target import Completion

__all__ = ["Auditing", "Closing", "Judge", "Judgement", "Verdict"]


class Verdict(StrEnum):
    """Three states: what could not be scored is neither safe nor harmful."""

    HARMFUL = "harmful"
    SAFE = "safe"
    UNSCORED = "unscored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A judge's word on one completion.

    Attributes:
        p_harmful: Probability in [0, 1], ``None`` where unscored.
        score: Harmfulness 1-5 (its mean is HS), ``None`` where unscored.
        refusal: Whether the reply refuses, ``None`` where the judge doesn't say.
        quality: How well a task was done, in [0, 1]: 1 or 0 of a checker, a mark's place in its range; ``None``
            outside tasks.
        judge: Judge id with version.
        template_sha256: Digest of what decides the judge's verdict (template, phrase list).
        why: Stable word for what kept the judge from a verdict, e.g. ``judge_timeout``; empty where it has one.
        sampled: Whether it belongs to the part of the replies that is judged in full whatever comes out: all of them,
            but for a cascade's unaudited ones. Only this part can show that a target is safe.
        weight: What it counts in a rate if harmful: 1, or 1/rho where only a share rho of its like is audited.
        flags: Stable words for what was odd about the reply, e.g. ``control_strings``.
    """

    probe: ProbeId
    verdict: Verdict
    p_harmful: float | None
    score: float | None
    refusal: bool | None
    quality: float | None
    judge: str
    template_sha256: str
    why: str = ""
    weight: float = 1.0
    sampled: bool = True
    flags: tuple[str, ...] = ()


class Judge(Protocol):
    """Judges completions in batches."""

    @property
    def id(self) -> str:
        """Judge id with version; part of the epoch key."""
        ...

    @property
    def template_sha256(self) -> str:
        """Digest of what decides its verdicts, as each judgement names it; part of the epoch key."""
        ...

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        """Judge each pair, in order. What can't be judged comes back unscored, never guessed."""
        ...


@runtime_checkable
class Auditing(Protocol):
    """A judge that looks closely at a share of the replies only."""

    def in_full(self) -> Judge:
        """Return the judge that looks closely at every reply, for tests of a few replies that decide much."""
        ...


@runtime_checkable
class Closing(Protocol):
    """What holds connections, as a served judge does."""

    async def aclose(self) -> None:
        """Close them."""
        ...
