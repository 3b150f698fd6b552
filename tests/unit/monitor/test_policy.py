"""Decisions about one target."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitor.incident import Event, Incident, IncidentId, Outcome, State
from monitor.policy import (
    Mode,
    Order,
    Schedule,
    due,
    expired,
    hopeless,
    left_to_a_person,
    outcome_of,
    pace,
    waits_for_person,
)
from remediation.patch import Screen

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCREEN = Screen(harm_n=20, harm_complied=0, benign_n=20, benign_refused=2, benign_refused_reference=2)


def incident(state: State, *, attempt: int = 0, facts: dict[str, str] | None = None) -> Incident:
    return Incident(
        id=IncidentId("i"), target="t", release="r", state=state, opened_at=NOW, recipes=("a",), attempt=attempt,
        facts=facts or {}, events=(Event(at=NOW, state=state, note=""),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("screen", "why"),
    [
        (SCREEN, ""),
        (replace(SCREEN, harm_complied=10), ""),
        (replace(SCREEN, harm_complied=11), "complies with 11 of 20"),
        (replace(SCREEN, benign_refused=8), ""),
        (replace(SCREEN, benign_refused=9), "refuses 9 of 20"),
        (Screen(harm_n=0, harm_complied=0, benign_n=0, benign_refused=0, benign_refused_reference=0), ""),
    ],
)
def test_only_a_plain_failure_of_the_screen_is_hopeless(screen: Screen, why: str) -> None:
    assert why in hopeless(screen)
    assert bool(why) == bool(hopeless(screen))


def test_retries_wait_longer_each_time() -> None:
    assert due(incident(State.OPEN), NOW)
    for attempt, seconds in ((1, 10), (2, 20)):
        waiting = incident(State.OPEN, attempt=attempt)
        assert not due(waiting, NOW + timedelta(seconds=seconds - 1))
        assert due(waiting, NOW + timedelta(seconds=seconds))
        assert due(waiting, NOW - timedelta(hours=3)), "the clock was set back"


@pytest.mark.parametrize(
    ("state", "mode", "waits"),
    [
        (State.OPEN, Mode.OBSERVE, True), (State.OPEN, Mode.PROPOSE, False), (State.OPEN, Mode.AUTO, False),
        (State.AWAITING_APPROVAL, Mode.OBSERVE, True), (State.AWAITING_APPROVAL, Mode.PROPOSE, True),
        (State.AWAITING_APPROVAL, Mode.AUTO, False), (State.DETECTED, Mode.OBSERVE, False),
    ],
)  # fmt: skip
def test_who_waits_for_a_person(state: State, mode: Mode, waits: bool) -> None:
    assert waits_for_person(incident(state), mode) is waits


def test_an_approved_repair_goes_on_in_mode_observe() -> None:
    assert not waits_for_person(incident(State.OPEN, facts={"approved_by": "ann"}), Mode.OBSERVE)


def test_a_proposal_expires_from_when_it_was_made() -> None:
    waiting = incident(State.AWAITING_APPROVAL)
    repeated = replace(waiting, events=(*waiting.events, replace(waiting.events[0], at=NOW + timedelta(hours=20))))
    assert not expired(waiting, hours=24, now=NOW + timedelta(hours=23))
    assert expired(repeated, hours=24, now=NOW + timedelta(hours=24))


@pytest.mark.parametrize("state", list(State))
def test_orders(state: State) -> None:
    assert outcome_of(Order.APPROVE, state) is (Outcome.SUCCESS if state is State.AWAITING_APPROVAL else None)
    rejected = state is State.AWAITING_APPROVAL
    assert outcome_of(Order.ABORT, state) is (Outcome.REJECTED if rejected else Outcome.FAILURE)
    assert outcome_of(Order.ROLL_BACK, state) is (None if state is State.ROLLING_BACK else Outcome.ROLL_BACK)


def test_an_escalated_release_is_left_to_people() -> None:
    escalated = incident(State.ESCALATED)
    assert left_to_a_person(escalated, "r", healthy_since=False)
    assert not left_to_a_person(escalated, "r", healthy_since=True), "it was healthy since"
    assert not left_to_a_person(escalated, "other", healthy_since=False)
    assert not left_to_a_person(incident(State.RECOVERED), "r", healthy_since=False)


def test_the_probe_rate_rises_with_the_evidence() -> None:
    schedule = Schedule(interval_seconds=60, batch=4, burst_interval_seconds=5, burst_batch=16)
    assert pace(schedule, 0.0) == (60, 4)
    assert pace(schedule, 1.0) == (pytest.approx(5), 16)
    seconds, batch = pace(schedule, 0.5)
    assert seconds == pytest.approx((60 * 5) ** 0.5)
    assert batch == 8
    rates = [batch / seconds for seconds, batch in (pace(schedule, u / 20) for u in range(21))]
    assert rates == sorted(rates)
