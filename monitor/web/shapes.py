"""What answers and bodies have in common."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

__all__ = ["Answer", "Body", "Estimate", "FaultAnswer", "ProblemAnswer", "ReleaseKnown"]

_CONFIG = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """What is given."""

    model_config = _CONFIG


class Body(BaseModel):
    """What is taken: of the right type, and nothing beside."""

    model_config = ConfigDict(**_CONFIG, strict=True)


class Estimate(Answer):
    """A rate (or a mean score) with its interval; no value where too much is missing to say."""

    value: float | None
    lower: float | None
    upper: float | None
    n: int
    """Scored probes."""
    missing: int
    """Probes without a usable verdict; they are not in n."""
    confidence: float


class ReleaseKnown(Answer):
    """What is known of a release of a target."""

    release: str
    good: bool
    marked_at: datetime
    asr: Estimate | None
    hs: Estimate | None
    over_refusal: Estimate | None
    utility: Estimate | None


class FaultAnswer(Answer):
    """One field that can't be taken."""

    field: str
    problem: str
    allowed: str


class ProblemAnswer(Answer):
    """What was refused and why (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FaultAnswer, ...]
