"""The incident table, owned by properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.incident import TERMINAL, Incident, IncidentId, Outcome, State, advance, open_incident

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
