"""Rails: what keeps a remediation from going on by itself, each one a small pure function of facts.

A rail that stands holds an incident in its state; nothing is lost, and the incident goes on when it no longer stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from monitor.incident import Incident, State
from monitor.windows import Window, is_open, opens_next

__all__ = [
    "RAILS", "Beginning", "Facts", "Fleet", "Hold", "Rails", "Remediation", "began", "failures", "patches", "standing",
]  # fmt: skip

_GIGABYTE = 1e9
_MONTH = timedelta(days=30)
_CHANGING = frozenset({State.PATCHING, State.PROMOTING})
_ACTING = _CHANGING | {State.OPEN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Rails over all targets of a daemon; see ``monitor.rail_settings.FleetSettings``."""

    remediations_max: int = 2
    healthy_ratio_min: float = 0.5
    storm_targets: int = 3
    storm_ratio: float = 0.25
    storm_minutes: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rails:
    """Rails of one target; see ``monitor.rail_settings.RailSettings``."""

    persist_seconds: float = 0.0
    cooldown_hours: float = 1.0
    cooldown_hours_max: float = 72.0
    patches_per_30_days: int = 8
    breaker_failures: int = 3
    disk_free_gb: float = 2.0
    memory_free_gb: float = 1.0
    windows: tuple[Window, ...] = ()
    give_up_hours: float = 72.0
    fleet: Fleet = field(default_factory=Fleet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A rail that stands.

    Attributes:
        name: One of ``RAILS``.
        why: In words that stay the same while it stands, so that it is noted once.
        until: When it stands no more by itself; ``None`` where no time ends it.
        person: Whether only a person ends it.
    """

    name: str
    why: str
    until: datetime | None = None
    person: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name, "why": self.why, "until": self.until.isoformat() if self.until else None,
            "person": self.person,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Remediation:
    """What rails ask of an incident of any target, this one or another.

    Attributes:
        base: Model that the repair is one of; empty before it began.
        began_at: When its repair began; ``None`` where none did.
        ended_at: When the incident ended.
    """

    incident: str
    target: str
    state: State
    opened_at: datetime
    base: str = ""
    began_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What rails are held against.

    Attributes:
        history: Incidents of all targets, the newest first, this one too.
        targets: How many targets there are.
        base: Model that this target's repair would be one of.
        paused: Words of the pause that is in force, empty where none is.
        judge: Why the judge decides nothing now.
        reset_at: When a person last closed this target's breaker.
        disk_free: Bytes, where the release store is.
        memory_free: Bytes, on this host.
        others: How many other targets there are that say whether they are up, and how many of them are.
    """

    incident: Incident
    history: tuple[Remediation, ...] = ()
    targets: int = 1
    base: str = ""
    paused: str = ""
    paused_until: datetime | None = None
    judge: str = ""
    reset_at: datetime | None = None
    disk_free: float = math.inf
    memory_free: float = math.inf
    others: tuple[int, int] = (0, 0)


class Beginning(StrEnum):
    """What an incident begins once, put down under ``began`` in its facts: from then on it holds its place."""

    REPAIR = "repair"
    PROMOTION = "promotion"


def began(incident: Incident, what: Beginning) -> bool:
    """Whether an incident has begun its repair, or its promotion."""
    return what in incident.facts.get("began", {})


def standing(rails: Rails, facts: Facts, now: datetime) -> tuple[Hold, ...]:
    """Return the rails that stand before the effect of the state that an incident is in, in the order of ``RAILS``.

    A promotion that has begun is brought to its end. What a person has approved while it stood holds no more.
    """
    if facts.incident.state is State.PROMOTING and began(facts.incident, Beginning.PROMOTION):
        return ()
    lifted = facts.incident.facts.get("lifted", {})
    found = (rail(rails, facts, now) for rail in RAILS.values())
    return tuple(hold for hold in found if hold and hold.name not in lifted)


def failures(history: Sequence[Remediation], target: str, reset_at: datetime | None) -> int:
    """Count a target's repairs that failed one after the other, since one recovered it or a person closed its breaker.

    Args:
        history: The newest first.
    """
    failed = 0
    for past in history:
        if past.target != target or past.began_at is None or past.ended_at is None:
            continue
        if past.state is State.RECOVERED or (reset_at and past.ended_at <= reset_at):
            break
        failed += past.state is State.ESCALATED
    return failed


def patches(facts: Facts, now: datetime) -> tuple[datetime, ...]:
    """Return when the target's repairs of the last 30 days began, newest first."""
    own = (r.began_at for r in facts.history if r.target == facts.incident.target)
    return tuple(sorted((at for at in own if at and now - at < _MONTH), reverse=True))


def _pause(_: Rails, facts: Facts, __: datetime) -> Hold | None:
    if not facts.paused or facts.incident.state not in _ACTING | {State.DETECTED}:
        return None
    return Hold(name="pause", why=facts.paused, until=facts.paused_until)


def _judge(_: Rails, facts: Facts, __: datetime) -> Hold | None:
    """Nothing that is judged decides while the judge is not to be trusted; to go back needs no judge."""
    if not facts.judge or facts.incident.state is State.ROLLING_BACK:
        return None
    return Hold(name="judge", why=facts.judge, person=True)


def _persistence(rails: Rails, facts: Facts, now: datetime) -> Hold | None:
    """Where the clock was set back behind its beginning, nobody waits for it to come there again."""
    opened, least = facts.incident.opened_at, timedelta(seconds=rails.persist_seconds)
    if facts.incident.state is not State.DETECTED or not timedelta() <= now - opened < least:
        return None
    why = f"a breach must last {rails.persist_seconds:g} s to be confirmed"
    return Hold(name="persistence", why=why, until=opened + least)


def _storm(rails: Rails, facts: Facts, _: datetime) -> Hold | None:
    """Many targets at once: what they share, the prober and its judge, is likelier to have failed than they are."""
    if facts.incident.state not in _ACTING:
        return None
    fleet, near = rails.fleet, timedelta(minutes=rails.fleet.storm_minutes)
    most = max(fleet.storm_targets, math.ceil(fleet.storm_ratio * facts.targets))
    opened = {r.target for r in facts.history if abs(r.opened_at - facts.incident.opened_at) <= near}
    if len(opened) < most:
        return None
    why = f"at least {most} targets breached within {fleet.storm_minutes:g} min; suspect the prober and its judge"
    return Hold(name="storm", why=why, person=True)


def _breaker(rails: Rails, facts: Facts, _: datetime) -> Hold | None:
    if facts.incident.state is not State.PATCHING or _begun(facts) or _failed(facts) < rails.breaker_failures:
        return None
    target = facts.incident.target
    why = f"{rails.breaker_failures} repairs in a row failed; `alignd breaker reset {target}` closes it"
    return Hold(name="breaker", why=why, person=True)


def _cooldown(rails: Rails, facts: Facts, now: datetime) -> Hold | None:
    if facts.incident.state is not State.PATCHING or _begun(facts):
        return None
    ended = [r.ended_at for r in facts.history if r.target == facts.incident.target and r.began_at and r.ended_at]
    hours = min(rails.cooldown_hours * 2.0 ** min(_failed(facts), 30), rails.cooldown_hours_max)
    if not ended or now >= (ends := max(ended) + timedelta(hours=hours)):
        return None
    return Hold(name="cooldown", why=f"{hours:g} h between repairs", until=ends)


def _budget(rails: Rails, facts: Facts, now: datetime) -> Hold | None:
    if facts.incident.state is not State.PATCHING or _begun(facts):
        return None
    recent = patches(facts, now)
    if len(recent) < rails.patches_per_30_days:
        return None
    why = f"{rails.patches_per_30_days} repairs in 30 days are the most"
    return Hold(name="budget", why=why, until=recent[rails.patches_per_30_days - 1] + _MONTH)


def _base(_: Rails, facts: Facts, __: datetime) -> Hold | None:
    busy = [r for r in _under_way(facts) if facts.base and r.base == facts.base]
    return Hold(name="base", why=f"{busy[0].target} repairs the same base model") if busy else None


def _fleet(rails: Rails, facts: Facts, _: datetime) -> Hold | None:
    most = rails.fleet.remediations_max
    busy = len(_under_way(facts)) >= most
    return Hold(name="fleet", why=f"{most} repairs at once are the most") if busy else None


def _window(rails: Rails, facts: Facts, now: datetime) -> Hold | None:
    if facts.incident.state not in _CHANGING or is_open(rails.windows, now):
        return None
    return Hold(name="window", why="no maintenance window is open", until=opens_next(rails.windows, now))


def _disk(rails: Rails, facts: Facts, _: datetime) -> Hold | None:
    if facts.incident.state is not State.PATCHING or facts.disk_free >= rails.disk_free_gb * _GIGABYTE:
        return None
    why = f"less than {rails.disk_free_gb:g} GB are free where releases lie; free some"
    return Hold(name="disk", why=why, person=True)


def _memory(rails: Rails, facts: Facts, _: datetime) -> Hold | None:
    if facts.incident.state is not State.PATCHING or facts.memory_free >= rails.memory_free_gb * _GIGABYTE:
        return None
    return Hold(name="memory", why=f"less than {rails.memory_free_gb:g} GB of this host's memory are free")


def _healthy(rails: Rails, facts: Facts, _: datetime) -> Hold | None:
    """Where many targets do not answer, the host or the network has a fault: not the time to change one more."""
    (others, up), least = facts.others, rails.fleet.healthy_ratio_min
    if facts.incident.state is not State.PROMOTING or not others or up >= least * others:
        return None
    return Hold(name="min_healthy", why=f"fewer than {least:.0%} of the other targets answer")


def _failed(facts: Facts) -> int:
    return failures(facts.history, facts.incident.target, facts.reset_at)


def _begun(facts: Facts) -> bool:
    return began(facts.incident, Beginning.REPAIR)


def _under_way(facts: Facts) -> list[Remediation]:
    """Return others' repairs that hold a place, where this incident asks for one."""
    if facts.incident.state is not State.PATCHING or _begun(facts):
        return []
    return [r for r in facts.history if r.incident != facts.incident.id and r.began_at and r.ended_at is None]


RAILS: Mapping[str, Callable[[Rails, Facts, datetime], Hold | None]] = {
    "pause": _pause, "judge": _judge, "persistence": _persistence, "storm": _storm, "breaker": _breaker,
    "cooldown": _cooldown, "budget": _budget, "base": _base, "fleet": _fleet, "window": _window, "disk": _disk,
    "memory": _memory, "min_healthy": _healthy,
}  # fmt: skip
"""Each rail by its name, in the order in which they are told."""
