"""What rails leave in an incident."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.holding import approved, begun, given_up, held, liftable
from monitor.incident import IncidentId, State, Wait, open_incident
from monitor.rails import Facts, Hold, Rails, Remediation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DETECTED = open_incident(incident=IncidentId("i"), target="t", release="r", recipes=("a",), now=NOW, note="n")
PATCHING, PROMOTING = (replace(DETECTED, state=s) for s in (State.PATCHING, State.PROMOTING))
WINDOW = Hold(name="window", why="no maintenance window is open", until=NOW + HOUR)
BREAKER = Hold(name="breaker", why="3 repairs in a row failed", person=True)


def test_the_same_rails_are_noted_once_and_the_beginning_stays() -> None:
    once = held(PATCHING, (WINDOW,), NOW)
    assert once.events[-1].note == "held by window: no maintenance window is open (until 2026-01-01 01:00 UTC)"
    assert held(once, (WINDOW,), NOW + HOUR) == once
    more = held(once, (WINDOW, BREAKER), NOW + HOUR)
    assert more.facts["held_since"] == NOW.isoformat()
    assert [h["name"] for h in more.facts["held"]] == ["window", "breaker"]
    assert more.events[-1].note.startswith("action needed: held by window"), "a person is needed for the breaker"
    assert [e.waits_for for e in more.events] == [None, Wait.RAILS, Wait.PERSON]


def test_a_person_lifts_what_can_be_approved_and_nothing_else() -> None:
    waiting = held(PATCHING, (WINDOW, BREAKER), NOW)
    assert liftable(waiting) == ("window",)
    agreed = approved(waiting, by="ann", now=NOW)
    assert agreed.facts["lifted"] == {"window": "ann"}
    assert (agreed.events[-1].note, agreed.events[-1].waits_for) == ("ann approved it in spite of window", None)
    assert liftable(agreed) == ()
    assert liftable(held(PATCHING, (BREAKER,), NOW)) == ()


def test_where_no_rail_holds_it_a_person_approves_the_repair() -> None:
    agreed = approved(replace(DETECTED, state=State.OPEN), by="ann", now=NOW)
    assert (agreed.facts["approved_by"], agreed.events[-1].note) == ("ann", "ann approved the repair")
    assert "lifted" not in agreed.facts


def test_a_repair_and_a_promotion_take_their_place_once() -> None:
    recent = Remediation(
        incident="j", target="t", state=State.RECOVERED, opened_at=NOW - HOUR, began_at=NOW - HOUR, ended_at=NOW
    )
    first = begun(Facts(incident=PATCHING, base="b", history=(recent,)), Rails(), NOW)
    assert first.events[-1].note == "the repair begins, 2 of 8 in 30 days"
    assert (first.facts["base"], first.facts["began"]) == ("b", {"repair": NOW.isoformat()})
    assert begun(Facts(incident=first), Rails(), NOW + HOUR) == first
    later = begun(Facts(incident=replace(first, state=State.PROMOTING)), Rails(), NOW + HOUR)
    assert later.facts["began"] == {"repair": NOW.isoformat(), "promotion": (NOW + HOUR).isoformat()}
    assert begun(Facts(incident=DETECTED), Rails(), NOW) == DETECTED, "no place is taken to confirm"


def test_what_was_held_is_free_again_when_it_goes_on() -> None:
    for waiting, note in ((DETECTED, "no rail stands any more"), (PROMOTING, "the promotion begins")):
        free = begun(Facts(incident=held(waiting, (WINDOW,), NOW)), Rails(), NOW + HOUR)
        assert (free.facts["held"], free.facts["held_since"], free.events[-1].note) == ([], "", note)


def test_what_is_held_for_too_long_is_given_up_but_not_for_a_pause() -> None:
    rails, waiting = Rails(give_up_hours=2), held(PATCHING, (WINDOW,), NOW)
    assert not given_up(PATCHING, rails, (WINDOW,), NOW + 9 * HOUR), "it was not held yet"
    assert not given_up(waiting, rails, (WINDOW,), NOW + HOUR)
    assert given_up(waiting, rails, (WINDOW,), NOW + 2 * HOUR)
    assert not given_up(waiting, rails, (WINDOW, Hold(name="pause", why="by ann")), NOW + 9 * HOUR)
