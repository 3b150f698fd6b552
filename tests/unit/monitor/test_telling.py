"""What is told of an incident: each state worth it once, and nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitor.incident import Incident, IncidentId, Outcome, State, Wait, advance, noted, open_incident
from monitor.notifier import Kind, Notification, Severity
from monitor.telling import digest_of, of_incident
from tests.unit.monitor.notifiers.samples import ESCALATED, MANY

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def opened() -> Incident:
    return open_incident(
        incident=IncidentId("i"), target="prod", release="bad", recipes=("mend",), now=NOW, note="9 of 9 harmful"
    )


def told(*steps: Outcome | Wait | str) -> list[Kind | None]:
    """Walk an incident by outcomes, waits and bare notes; return what is told of each event."""
    incident = opened()
    found = [of_incident(incident)]
    for step in steps:
        if isinstance(step, Outcome):
            incident = advance(incident, step, now=NOW, note=step.value)
        elif isinstance(step, Wait):
            incident = noted(incident, now=NOW, note="in other words", waits_for=step)
        else:
            incident = noted(incident, now=NOW, note=step)
        found.append(of_incident(incident))
    return [n.kind if n else None for n in found]


GOOD = Outcome.SUCCESS


def test_a_repair_is_told_from_its_breach_to_its_end() -> None:
    assert told(GOOD, GOOD, GOOD, GOOD, GOOD, Wait.APPROVAL, GOOD, GOOD, GOOD) == [
        Kind.INCIDENT_OPENED, None, Kind.CONTAINED, None, None, None, Kind.APPROVAL_WAITING, None, None,
        Kind.RECOVERED,
    ]  # fmt: skip


def test_what_waits_for_a_person_is_told() -> None:
    assert told(GOOD, Wait.APPROVAL, "ops approved the repair")[2:] == [Kind.ACTION_NEEDED, None]
    assert told(GOOD, Wait.PERSON)[2:] == [Kind.ACTION_NEEDED]


def test_a_candidate_whose_rail_only_a_person_ends_is_not_told_as_one_that_waits_for_approval() -> None:
    assert told(GOOD, GOOD, GOOD, GOOD, GOOD, Wait.PERSON)[-1] is Kind.ACTION_NEEDED


def test_nothing_is_told_by_the_words_of_a_note() -> None:
    assert told(GOOD, "action needed: say no", "held by a thread")[2:] == [None, None]


def test_what_a_rail_holds_back_is_told_and_when_a_person_is_needed_that_is_what_is_said() -> None:
    assert told(GOOD, GOOD, Wait.RAILS, Wait.PERSON, "no rail stands any more")[3:] == [
        Kind.HELD, Kind.ACTION_NEEDED, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([Outcome.CLEARED], Kind.DISMISSED), ([Outcome.FAILURE], Kind.ESCALATED),
        ([GOOD, GOOD, Outcome.NEXT_RECIPE], Kind.ESCALATED), ([GOOD, Outcome.ROLL_BACK, GOOD], Kind.ESCALATED),
    ],
)  # fmt: skip
def test_every_end_is_told(steps: list[Outcome], kind: Kind) -> None:
    assert told(*steps)[-1] is kind


def test_a_passing_fault_is_not_told() -> None:
    assert told(GOOD, Outcome.RETRY, Outcome.RETRY)[1:] == [None, None, None]


def test_the_same_event_is_the_same_notification_and_the_next_is_another() -> None:
    first = opened()
    later = advance(first, Outcome.FAILURE, now=NOW, note="x")
    ids = [n.id for i in (first, opened(), later) if (n := of_incident(i))]
    assert ids == ["i.1", "i.1", "i.2"]


def test_it_says_where_what_and_how_bad() -> None:
    said = of_incident(advance(opened(), Outcome.FAILURE, now=NOW, note="no\x1b[31m way"), page="https://a.test/")
    assert said is not None
    assert (said.severity, said.state, said.resolved) == (Severity.CRITICAL, State.ESCALATED.value, False)
    assert said.url == "https://a.test/incidents/i"
    assert said.text == "no?[31m way", "what can't be printed is not told"
    assert said.title == "prod: escalated: a person must look"


def test_a_digest_is_as_bad_as_its_worst_and_the_same_for_the_same_parts() -> None:
    assert (MANY.count, len(MANY.parts), MANY.parts[-1].target) == (60, 50, "t59")
    assert MANY.severity is Severity.CRITICAL
    one = digest_of([ESCALATED], now=NOW)
    assert (one.title, one.target) == ("1 notification of prod", "prod")
    assert one.id == digest_of([ESCALATED], now=datetime(2026, 2, 1, tzinfo=UTC)).id != MANY.id


@pytest.mark.parametrize("said", [ESCALATED, MANY], ids=["one", "many"])
def test_a_notification_survives_the_store(said: Notification) -> None:
    assert Notification.from_json(said.to_json()) == said
