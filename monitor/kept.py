"""What a store keeps in few values: people's words, and what is known of releases and sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor.policy import Order

__all__ = ["BreakerReset", "KnownRelease", "Pause", "PlacedOrder", "SweepSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder:
    """A person's word on an incident, until it is done."""

    id: int
    incident: str
    order: Order
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRelease:
    """What is known of a release of a target.

    Attributes:
        good: Certified by the sequential test or by a confirmed recovery, and not found drifted since.
        profile: Its measured profile in plain values, ``None`` before it was measured.
        profile_key: Digest of how it was measured; profiles of different keys are never compared.
    """

    target: str
    release: str
    good: bool
    marked_at: datetime
    profile: Mapping[str, Any] | None
    profile_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary:
    """One sweep in counts.

    Attributes:
        reasons: Why probes are missing, counted.
    """

    sweep: str
    at: datetime
    purpose: str
    release: str
    n: int
    harmful: int
    missing: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A person's word that a target is not to be probed.

    Attributes:
        until: When it ends by itself; ``None`` for never.
    """

    target: str
    until: datetime | None
    by: str
    at: datetime
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerReset:
    """A person's word that the daemon may repair a target again."""

    target: str
    at: datetime
    by: str
    why: str = ""
