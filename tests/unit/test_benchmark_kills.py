"""The benchmark of kills: what it draws, and which answers it calls wrong."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from monitor.incident import Event, Incident, IncidentId, State
from tests.benchmarks.rollout_kills_checks import terms_of, wrong_answers
from tests.benchmarks.rollout_kills_plan import INCIDENT, plan_of
from tests.traffic import Answer

START = datetime(2026, 1, 1, tzinfo=UTC)
STATES = (
    State.DETECTED, State.OPEN, State.PATCHING, State.STAGING, State.VERIFYING, State.PATCHING, State.STAGING,
    State.VERIFYING, State.AWAITING_APPROVAL, State.PROMOTING, State.CONFIRMING, State.RECOVERED,
)  # fmt: skip
"""Each a second after the one before; the first recipe's candidate fails the gates."""


def incident() -> Incident:
    events = tuple(Event(at=START + timedelta(seconds=n), state=s, note="") for n, s in enumerate(STATES))
    return Incident(
        id=IncidentId("i"), target="prod", release="drifted", state=State.RECOVERED, opened_at=START, recipes=("x",),
        candidate="mended", last_good="good", events=events,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("release", "sent", "ended", "right", "right_if_held"),
    [
        ("good", 0, 99, True, True),
        ("drifted", 1.9, 2.5, True, True),
        ("drifted", 2.1, 2.5, False, True),
        ("drifted", 10.1, 10.2, False, False),
        ("mended", 7.1, 7.9, False, False),
        ("mended", 7.9, 8.1, True, True),
        ("weak", 9, 9.1, False, False),
        ("", 9, 9.1, False, False),
    ],
)
def test_answers_are_right_by_the_incident_s_events(
    release: str, sent: float, ended: float, right: bool, right_if_held: bool
) -> None:
    zero = START.timestamp() - (time.time() - time.monotonic())
    answer = Answer(sent_at=zero + sent, ended_at=zero + ended, status=200, release=release)
    for hold, wanted in ((False, right), (True, right_if_held)):
        terms = terms_of(incident(), good="good", hold=hold)
        assert (not wrong_answers([answer], terms)) is wanted
    broken = Answer(sent_at=zero, ended_at=zero, status=0, release="")
    assert not wrong_answers([broken], terms)


def test_the_draws_are_the_seed_s_and_hit_everything() -> None:
    plans = [plan_of(f"1/{n}") for n in range(200)]
    assert plans == [plan_of(f"1/{n}") for n in range(200)]
    assert plans != [plan_of(f"2/{n}") for n in range(200)]
    targets = Counter(kill.target for plan in plans for kill in plan.kills)
    assert set(targets) == {"daemon", "supervisor", "active server", "other server", "haproxy", "worker", "command"}
    assert min(targets.values()) >= 10
    events = {k.event for p in plans for k in p.kills if p.kind == INCIDENT}
    assert events >= {None, *range(9)}
    assert {p.kind for p in plans} == {INCIDENT, "deploy", "deploy-drifted", "promote", "roll-back"}
