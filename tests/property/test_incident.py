"""The incident table, owned by properties."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.incident import (
    TERMINAL,
    Incident,
    IncidentId,
    Outcome,
    State,
    Trial,
    Wait,
    advance,
    noted,
    open_incident,
    seconds_by_state,
    with_facts,
    with_trial,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(recipes: tuple[str, ...] = ("a", "b")) -> Incident:
    return open_incident(
        incident=IncidentId("i"), target="t", release="r", recipes=recipes, now=NOW, note="evidence"
    )


def allowed(incident: Incident) -> list[Outcome]:
    found = []
    for outcome in Outcome:
        try:
            advance(incident, outcome, now=NOW, note="")
        except ValueError:
            continue
        found.append(outcome)
    return found


def walk(incident: Incident, *outcomes: Outcome) -> Incident:
    for outcome in outcomes:
        incident = advance(incident, outcome, now=NOW, note=outcome)
    return incident


@given(st.data(), st.integers(1, 4))
def test_every_run_ends_and_promotes_only_what_was_accepted(data: st.DataObject, recipes: int) -> None:
    incident = new(tuple("abcd"[:recipes]))
    for step in range(400):
        if incident.closed:
            break
        outcome = data.draw(st.sampled_from(allowed(incident)))
        before = incident
        incident = advance(incident, outcome, now=NOW + timedelta(seconds=step), note="")
        assert len(incident.events) == len(before.events) + 1
        assert incident.events[-1].state is incident.state
        if incident.state in {State.PROMOTING, State.CONFIRMING, State.RECOVERED}:
            assert incident.accepted
        if incident.state is State.PATCHING:
            assert not incident.accepted
            assert incident.recipe < recipes
    assert incident.state in TERMINAL


@pytest.mark.parametrize("state", [s for s in State if s not in TERMINAL])
def test_every_open_state_has_a_way_on(state: State) -> None:
    incident = Incident(
        id=IncidentId("i"), target="t", release="r", state=state, opened_at=NOW, recipes=("a",), accepted=True
    )
    assert Outcome.SUCCESS in allowed(incident)
    assert {Outcome.FAILURE, Outcome.REJECTED} & set(allowed(incident))


def test_the_way_to_recovery() -> None:
    done = walk(new(), *[Outcome.SUCCESS] * 8)
    assert [e.state.value for e in done.events] == [
        "DETECTED", "OPEN", "PATCHING", "STAGING", "VERIFYING", "AWAITING_APPROVAL", "PROMOTING", "CONFIRMING",
        "RECOVERED",
    ]  # fmt: skip


def test_a_failed_gate_tries_the_next_recipe_and_then_escalates() -> None:
    verifying = walk(new(), *[Outcome.SUCCESS] * 4)
    second = walk(verifying, Outcome.NEXT_RECIPE)
    assert (second.state, second.recipe) == (State.PATCHING, 1)
    assert walk(second, Outcome.SUCCESS, Outcome.SUCCESS, Outcome.NEXT_RECIPE).state is State.ESCALATED


def test_retries_are_bounded() -> None:
    patching = walk(new(), Outcome.SUCCESS, Outcome.SUCCESS)
    assert walk(patching, Outcome.RETRY, Outcome.RETRY).recipe == 0
    assert walk(patching, Outcome.RETRY, Outcome.RETRY, Outcome.RETRY).recipe == 1
    opened = walk(new(), Outcome.SUCCESS)
    assert walk(opened, Outcome.RETRY, Outcome.RETRY, Outcome.RETRY).state is State.ESCALATED


def test_an_ended_incident_stays_ended() -> None:
    with pytest.raises(ValueError, match="ended"):
        advance(walk(new(), Outcome.CLEARED), Outcome.SUCCESS, now=NOW, note="")


def test_nothing_unverified_is_promoted() -> None:
    waiting = Incident(
        id=IncidentId("i"), target="t", release="r", state=State.AWAITING_APPROVAL, opened_at=NOW, recipes=("a",)
    )
    with pytest.raises(ValueError, match="no accepted verification"):
        advance(waiting, Outcome.SUCCESS, now=NOW, note="")


@pytest.mark.parametrize("state", [s for s in State if s not in TERMINAL and s is not State.ROLLING_BACK])
def test_a_person_may_roll_back_at_any_time(state: State) -> None:
    incident = Incident(id=IncidentId("i"), target="t", release="r", state=state, opened_at=NOW, recipes=("a",))
    assert walk(incident, Outcome.ROLL_BACK).state is State.ROLLING_BACK
    assert walk(incident, Outcome.ROLL_BACK, Outcome.SUCCESS).state is State.ESCALATED


@given(st.data())
def test_an_incident_survives_json(data: st.DataObject) -> None:
    incident = with_facts(new(), {"evidence": {"n": 3}})
    for _ in range(data.draw(st.integers(0, 12))):
        if incident.closed:
            break
        if incident.state is State.PATCHING:
            incident = with_trial(incident, Trial(recipe=incident.recipes[incident.recipe], patch={"rank": 1}))
        incident = noted(incident, now=NOW, note="w", waits_for=data.draw(st.sampled_from([None, *Wait])))
        incident = advance(incident, data.draw(st.sampled_from(allowed(incident))), now=NOW, note="n")
    assert Incident.from_json(json.loads(json.dumps(incident.to_json()))) == incident
    assert len(incident.trials) <= len(incident.recipes)


def test_the_same_note_twice_is_one_event() -> None:
    once = noted(new(), now=NOW, note="says so", waits_for=Wait.PERSON)
    assert noted(once, now=NOW + timedelta(hours=1), note="says so", waits_for=Wait.PERSON) == once
    assert len(noted(once, now=NOW, note="other", waits_for=Wait.PERSON).events) == 3
    assert len(noted(once, now=NOW, note="says so", waits_for=Wait.RAILS).events) == 3


def test_seconds_are_counted_by_state() -> None:
    later = NOW + timedelta(seconds=5)
    opened = advance(new(), Outcome.SUCCESS, now=later, note="")
    assert seconds_by_state(opened, later + timedelta(seconds=2)) == {"DETECTED": 5.0, "OPEN": 2.0}


def test_a_rung_that_left_nothing_is_put_down() -> None:
    third = replace(new(("a", "b", "c")), recipe=2)
    assert [(t.recipe, t.why) for t in with_trial(third, Trial(recipe="c")).trials] == [
        ("a", "no result"), ("b", "no result"), ("c", ""),
    ]  # fmt: skip
