"""Decisions about one target, pure: when to act, when to wait, what is hopeless."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.incident import Incident, Outcome, State
from remediation.patch import Screen

__all__ = [
    "MENDS_MAX",
    "Containment",
    "Mode",
    "Order",
    "Rates",
    "Schedule",
    "due",
    "expired",
    "hopeless",
    "left_to_a_person",
    "may_mend",
    "outcome_of",
    "pace",
    "waits_for_person",
]

_BACKOFF_SECONDS = 5.0
_MEND_SECONDS = 60.0
MENDS_MAX = 3
"""So many attempts in a row at a server that serves something else; then a person is asked."""


class Mode(StrEnum):
    """How much the daemon may do by itself."""

    OBSERVE = "observe"
    """Probe, confirm, open an incident and wait for a person; nothing that is served changes."""
    PROPOSE = "propose"
    """Contain, repair and verify; a person approves the promotion."""
    AUTO = "auto"
    """Everything."""


class Containment(StrEnum):
    """What to do with users' traffic while a repair is made."""

    ROLL_BACK = "roll_back"
    """Serve the last known good release."""
    QUARANTINE = "quarantine"
    """Serve nobody: what stands before the servers answers 503."""
    HOLD = "hold"
    """Leave the drifted release in service."""


class Order(StrEnum):
    """What a person says about an incident."""

    APPROVE = "approve"
    ABORT = "abort"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rates and error levels of the tests; see ``monitor.settings.StatisticsSettings``."""

    p0: float
    p1: float
    gamma_warn: float
    gamma_breach: float
    alpha: float
    beta: float
    theta: float
    delta: float
    cap: int
    theta_stratum: float = 0.25
    epsilon: float = 0.5
    baseline_probes: int = 1000
    sentinel_ratio: float = 0.25
    canary_margin: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When to probe and how much; see ``monitor.settings.ScheduleSettings``."""

    interval_seconds: float
    batch: int
    burst_interval_seconds: float
    burst_batch: int


def pace(schedule: Schedule, urgency: float) -> tuple[float, int]:
    """Return the seconds to the next routine batch and its size: between idle and burst, by the evidence's log.

    The rate depends on the past alone, so what the probes find keeps its guarantee.

    Args:
        urgency: From 0 (nothing points to drift) to 1 (burst).
    """
    s = schedule
    seconds = s.interval_seconds * (s.burst_interval_seconds / s.interval_seconds) ** urgency
    return seconds, round(s.batch * (s.burst_batch / s.batch) ** urgency)


def hopeless(screen: Screen) -> str:
    """Say why a patch is not worth staging, or nothing.

    Args:
        screen: The worker's own look; it saves time and never accepts a patch.
    """
    if screen.complies:
        return f"still complies with {screen.harm_complied} of {screen.harm_n} harmful prompts of the screen"
    if screen.refuses:
        return f"refuses {screen.benign_refused} of {screen.benign_n} harmless prompts of the screen"
    return ""


def due(incident: Incident, now: datetime) -> bool:
    """Whether the next attempt may begin: at once, after a failed one with doubling pauses (10 s, 20 s, …).

    Where the clock was set back behind the failure, nobody waits for it to come there again.
    """
    if incident.attempt == 0 or not incident.events:
        return True
    pause = timedelta(seconds=_BACKOFF_SECONDS * 2**incident.attempt)
    failed_at = incident.events[-1].at
    return now >= failed_at + pause or now < failed_at


def waits_for_person(incident: Incident, mode: Mode) -> bool:
    """Whether this state needs a person's word first."""
    if incident.state is State.OPEN:
        return mode is Mode.OBSERVE and "approved_by" not in incident.facts
    return incident.state is State.AWAITING_APPROVAL and mode is not Mode.AUTO


def expired(incident: Incident, *, hours: float, now: datetime) -> bool:
    """Whether nobody approved in time."""
    entered = next((e.at for e in incident.events if e.state is State.AWAITING_APPROVAL), now)
    for event in reversed(incident.events):
        if event.state is not State.AWAITING_APPROVAL:
            break
        entered = event.at
    return now >= entered + timedelta(hours=hours)


def outcome_of(order: Order, state: State) -> Outcome | None:
    """What a person's order means for an incident in this state; ``None`` where it means nothing."""
    if order is Order.ROLL_BACK:
        return Outcome.ROLL_BACK if state is not State.ROLLING_BACK else None
    if order is Order.ABORT:
        return Outcome.REJECTED if state is State.AWAITING_APPROVAL else Outcome.FAILURE
    return Outcome.SUCCESS if state is State.AWAITING_APPROVAL else None


def left_to_a_person(previous: Incident, release: str, *, healthy_since: bool) -> bool:
    """Whether a breach of this release opens no incident, for its last one was escalated: it is a person's business.

    The daemon does not try again by itself until another release was served, or this one was found healthy since.

    Args:
        healthy_since: Whether the release was found healthy after the previous incident ended.
    """
    return previous.state is State.ESCALATED and previous.release == release and not healthy_since


def may_mend(mode: Mode, *, tries: int, last: datetime | None, now: datetime) -> bool:
    """Whether what is meant to be served may be put into service again, without a person.

    It was approved when it was promoted, so ``propose`` does it too. The pause doubles after each try; where the clock
    was set back behind the last one, nobody waits for it to come there again.
    """
    if mode is Mode.OBSERVE or tries >= MENDS_MAX:
        return False
    return last is None or not timedelta() <= now - last < timedelta(seconds=_MEND_SECONDS * 2**tries)
