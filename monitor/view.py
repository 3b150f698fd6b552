"""What is being done and what was seen last, for people; kept in memory only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from deploy.deployer import DeploymentState

__all__ = ["Activity", "View"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What is being done for a target's incident now."""

    stage: str
    share: float
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the last tick saw. ``why`` says why there was no sweep."""

    up: bool = False
    why: str = "not looked at yet"
    deployment: DeploymentState | None = None
    last_sweep_at: datetime | None = None
    sweeps: int = 0
    sweeps_failed: int = 0
