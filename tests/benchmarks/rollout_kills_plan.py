"""What is killed, and when: drawn from a seed, so that a run can be done again alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["INCIDENT", "MOVES", "Kill", "Plan", "plan_of"]

INCIDENT = "incident"
MOVES = ("deploy", "deploy-drifted", "promote", "roll-back")
"""Runs in which a person or a pipeline moves releases, and no incident is open."""
_TARGETS = ("daemon", "supervisor", "active server", "other server", "haproxy", "worker")
_INCIDENT_SECONDS, _RUNG_SECONDS, _COMMAND_SECONDS = 9.0, 5.0, 4.0
"""How long an undisturbed incident takes on two busy cores with fake servers; each further rung; a command."""
_EVENTS, _RUNG_EVENTS = 8, 3
_REAL_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One SIGKILL.

    Attributes:
        event: Transitions of the incident (lines of a command) after which it comes; ``None``: only time counts.
        seconds: After that event, the incident's start or, of a second kill, the first one.
    """

    target: str
    event: int | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        early: Whether the drifted release serves before the daemon's first look.
    """

    seed: str
    kind: str
    containment: str
    recipes: tuple[str, ...]
    early: bool
    kills: tuple[Kill, ...]
    real: bool


def plan_of(seed: str, *, real: bool = False) -> Plan:
    """Draw a run."""
    rng = random.Random(seed)
    kind = INCIDENT if real or rng.random() < 0.8 else rng.choice(MOVES)
    recipes = ("kills-weak", "kills-mend") if not real and rng.random() < 0.3 else ("kills-mend",)
    targets = _TARGETS if kind == INCIDENT else ("command", "command", *_TARGETS[:5])
    first = _first(rng, rng.choice(targets), kind, rungs=len(recipes), real=real)
    second = Kill(target=rng.choice(targets), event=None, seconds=rng.uniform(0.0, 30.0 if real else 3.0))
    return Plan(
        seed=seed, kind=kind, containment="hold" if rng.random() < 0.15 else "roll_back", recipes=recipes,
        early=rng.random() < 0.4, kills=(first, second) if rng.random() < 0.25 else (first,), real=real,
    )  # fmt: skip


def _first(rng: random.Random, target: str, kind: str, *, rungs: int, real: bool) -> Kill:
    """Half of them by time, uniform over the usual duration; half at an event, as most states last no second."""
    if kind != INCIDENT:
        event = rng.choice((None, 0, 1, 2, 3, 4)) if kind.startswith("deploy") else None
        return Kill(target=target, event=event, seconds=rng.uniform(0, 0.3 if event is not None else _COMMAND_SECONDS))
    if rng.random() < 0.5:
        usual = _REAL_SECONDS if real else _INCIDENT_SECONDS + _RUNG_SECONDS * (rungs - 1)
        return Kill(target=target, event=None, seconds=rng.uniform(0, usual))
    event = rng.randrange(_EVENTS + _RUNG_EVENTS * (rungs - 1) + 1)
    return Kill(target=target, event=event, seconds=rng.uniform(0, rng.choice((0.03, 0.6, 20.0 if real else 2.0))))
