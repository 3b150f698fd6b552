"""Each rail: when it stands, until when, and which states it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from monitor.incident import Event, Incident, IncidentId, State
from monitor.rail_settings import FleetSettings, RailSettings, WindowSettings
from monitor.rails import RAILS, Facts, Fleet, Rails, Remediation, failures, standing
from monitor.windows import Window

NOW = datetime(2026, 1, 7, 12, tzinfo=UTC)  # a Wednesday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RAILS_OF_A_TEST = Rails(cooldown_hours=1, fleet=Fleet(storm_minutes=30))


def incident(state: State, facts: Mapping[str, Any] | None = None) -> Incident:
    return Incident(
        id=IncidentId("i"), target="t", release="r", state=state, opened_at=NOW - HOUR, recipes=("a",),
        facts=facts or {}, events=(Event(at=NOW - HOUR, state=state, note=""),),
    )  # fmt: skip


def facts(state: State = State.PATCHING, **given: Any) -> Facts:  # noqa: ANN401
    return Facts(incident=incident(state, given.pop("own", None)), **given)


def past(ended: timedelta, state: State = State.ESCALATED, *, target: str = "t", began: bool = True) -> Remediation:
    """An incident that ended so long ago."""
    return Remediation(
        incident=f"{target}{ended}", target=target, state=state, opened_at=NOW - ended - HOUR,
        began_at=NOW - ended - HOUR / 2 if began else None, ended_at=NOW - ended,
    )  # fmt: skip


def under_way(target: str, base: str = "b") -> Remediation:
    return Remediation(
        incident=target, target=target, state=State.VERIFYING, opened_at=NOW - 3 * HOUR, base=base, began_at=NOW - HOUR
    )


def names(found: Facts, rails: Rails = RAILS_OF_A_TEST) -> list[str]:
    return [h.name for h in standing(rails, found, NOW)]


def states_of(name: str, rails: Rails = RAILS_OF_A_TEST, **given: Any) -> set[State]:  # noqa: ANN401
    return {s for s in State if name in names(facts(s, **given), rails)}


ACTING = {State.OPEN, State.PATCHING, State.PROMOTING}


def test_a_healthy_world_has_no_rail_that_stands() -> None:
    assert {s: names(facts(s)) for s in State} == {s: [] for s in State}


def test_a_pause_holds_everything_that_asks_or_changes_users_servers() -> None:
    assert states_of("pause", paused="by ann: a new disk") == {State.DETECTED, *ACTING}
    (hold,) = standing(RAILS_OF_A_TEST, facts(paused="by ann", paused_until=NOW + HOUR), NOW)
    assert (hold.until, hold.person) == (NOW + HOUR, False)


def test_a_judge_that_drifted_decides_nothing_but_does_not_keep_users_from_going_back() -> None:
    assert states_of("judge", judge="it drifted") == set(State) - {State.ROLLING_BACK}


def test_a_breach_must_last_before_it_is_confirmed() -> None:
    rails = replace(RAILS_OF_A_TEST, persist_seconds=7200)
    assert states_of("persistence", rails) == {State.DETECTED}
    assert names(facts(State.DETECTED), replace(rails, persist_seconds=3600)) == []


@pytest.mark.parametrize("seconds", [0.0, 7200.0])
def test_a_clock_that_was_set_back_keeps_no_breach_from_being_confirmed(seconds: float) -> None:
    rails = replace(RAILS_OF_A_TEST, persist_seconds=seconds)
    assert standing(rails, facts(State.DETECTED), NOW - 3 * HOUR) == ()


@pytest.mark.parametrize(
    ("near", "targets", "stands"),
    [
        (2, 3, False),
        (3, 3, True),
        (3, 12, True),
        (3, 13, False),  # a quarter of 13 is four
        (4, 13, True),
    ],
)
def test_a_storm_is_three_targets_or_a_quarter_of_them(near: int, targets: int, stands: bool) -> None:
    opened = [Remediation(incident=str(i), target=str(i), state=State.OPEN, opened_at=NOW - HOUR) for i in range(near)]
    found = {"history": tuple(opened), "targets": targets}
    assert states_of("storm", **found) == (ACTING if stands else set())


def test_a_storm_is_near_in_time_of_different_targets_and_ends_by_a_person() -> None:
    at = [NOW - HOUR + timedelta(minutes=m) for m in (-31, -30, 0, 30, 31)]
    spread = tuple(Remediation(incident=str(m), target=str(m), state=State.DISMISSED, opened_at=m) for m in at)
    assert "storm" in names(facts(history=spread[1:4], targets=3)), "who was dismissed counts"
    assert "storm" not in names(facts(history=(spread[0], spread[2], spread[4]), targets=3))
    assert "storm" not in names(facts(history=tuple(replace(r, target="t") for r in spread), targets=3))
    (hold,) = standing(RAILS_OF_A_TEST, facts(history=spread[1:4], targets=3), NOW)
    assert (hold.until, hold.person) == (None, True)
    assert names(facts(history=spread[1:4], targets=3, own={"lifted": {"storm": "ann"}})) == []


def test_the_breaker_opens_after_failures_in_a_row() -> None:
    failed = tuple(past(d * DAY) for d in (1, 2, 3))
    assert states_of("breaker", history=failed) == {State.PATCHING}
    assert "breaker" not in names(facts(history=failed[:2]))
    assert "breaker" not in names(facts(history=(failed[0], past(36 * HOUR, State.RECOVERED), *failed[1:])))
    assert "breaker" in names(facts(history=(past(HOUR, State.DISMISSED), *failed))), "a dismissal is no recovery"
    assert "breaker" not in names(facts(history=tuple(past(d * DAY, began=False) for d in (1, 2, 3)))), "no repair"
    assert "breaker" not in names(facts(history=failed, own={"began": {"repair": "x"}})), "it has its place"


def test_only_a_reset_closes_the_breaker_and_the_next_failures_open_it_again() -> None:
    failed = tuple(past(d * DAY) for d in (1, 2, 3, 4))
    assert failures(failed, "t", None) == 4
    assert failures(failed, "t", NOW - 36 * HOUR) == 1
    assert failures(failed, "u", None) == 0
    assert "breaker" not in names(facts(history=failed, reset_at=NOW - HOUR))


@pytest.mark.parametrize(
    ("history", "hours"),
    [
        ((past(HOUR / 2, State.RECOVERED),), 1),
        ((past(HOUR / 2),), 2),
        ((past(HOUR / 2), past(DAY)), 4),
        (tuple(past(d * DAY + HOUR / 2) for d in range(20)), 72),
        ((past(HOUR / 2), past(DAY, State.RECOVERED), past(2 * DAY)), 2),
        ((past(HOUR / 2, State.DISMISSED),), 1),
    ],
)
def test_the_cooldown_doubles_with_each_failure(history: tuple[Remediation, ...], hours: float) -> None:
    rails = replace(RAILS_OF_A_TEST, breaker_failures=99, patches_per_30_days=99)
    (hold,) = standing(rails, facts(history=history), NOW)
    assert (hold.name, hold.until) == ("cooldown", NOW - HOUR / 2 + hours * HOUR)
    assert states_of("cooldown", rails, history=history) == {State.PATCHING}


def test_the_cooldown_ends_and_others_have_their_own() -> None:
    assert names(facts(history=(past(HOUR, State.RECOVERED),))) == []
    assert names(facts(history=(past(HOUR / 2, target="u"),))) == []
    assert names(facts(history=(past(HOUR / 2, began=False),))) == []


def test_patches_in_30_days_are_counted() -> None:
    rails = replace(RAILS_OF_A_TEST, patches_per_30_days=2, cooldown_hours=0)
    history = tuple(past(d * DAY, State.RECOVERED) for d in (1, 10, 29, 40))
    (hold,) = standing(rails, facts(history=history), NOW)
    assert (hold.name, hold.until) == ("budget", NOW - 10 * DAY - HOUR / 2 + 30 * DAY), "the second newest leaves then"
    assert names(facts(history=history[2:]), rails) == []
    assert states_of("budget", rails, history=history) == {State.PATCHING}


def test_one_repair_of_a_base_at_once_and_so_many_in_the_fleet() -> None:
    assert names(facts(base="b", history=(under_way("u"),))) == ["base"]
    assert names(facts(base="b", history=(under_way("u", "c"),))) == []
    assert names(facts(base="b", history=(under_way("u", "c"), under_way("v", "d")))) == ["fleet"]
    two = (under_way("u"), under_way("v"))
    assert names(facts(base="b", history=two, own={"began": {"repair": "x"}})) == [], "it has its place"
    waiting = tuple(replace(r, began_at=None) for r in two)
    assert names(facts(base="b", history=waiting)) == [], "who waits as well takes no place"
    ended = tuple(replace(r, ended_at=NOW) for r in two)
    assert names(facts(base="b", history=ended)) == []
    assert states_of("base", base="b", history=two) == states_of("fleet", base="b", history=two) == {State.PATCHING}


def test_changes_wait_for_a_window_and_going_back_does_not() -> None:
    saturday = Window(days=frozenset({5}), start=time(2), end=time(5), zone=UTC)
    rails = replace(RAILS_OF_A_TEST, windows=(saturday,))
    assert states_of("window", rails) == {State.PATCHING, State.PROMOTING}
    (hold,) = standing(rails, facts(), NOW)
    assert hold.until == datetime(2026, 1, 10, 2, tzinfo=UTC)


def test_a_repair_needs_room() -> None:
    assert states_of("disk", disk_free=1.9e9) == states_of("memory", memory_free=0.9e9) == {State.PATCHING}
    assert names(facts(disk_free=2e9, memory_free=1e9)) == []


def test_one_more_server_is_not_changed_while_many_do_not_answer() -> None:
    assert states_of("min_healthy", others=(4, 1)) == {State.PROMOTING}
    assert names(facts(State.PROMOTING, others=(4, 2))) == []
    assert names(facts(State.PROMOTING, others=(0, 0))) == [], "a lone target has no others"


def test_a_promotion_that_has_begun_is_brought_to_its_end() -> None:
    own = {"began": {"promotion": "x"}}
    assert names(facts(State.PROMOTING, own=own, paused="by ann", others=(4, 0), judge="it drifted")) == []


def test_all_that_stand_are_told_in_order() -> None:
    found = facts(paused="by ann", judge="it drifted", disk_free=0, memory_free=0, base="b",
                  history=(under_way("u"), under_way("v"), *(past(HOUR / 2 * d) for d in (1, 2, 3))))  # fmt: skip
    told = names(found, replace(RAILS_OF_A_TEST, patches_per_30_days=1))
    assert told == [n for n in RAILS if n in told]
    assert set(RAILS) - set(told) == {"persistence", "storm", "window", "min_healthy"}


def test_the_settings_have_the_same_defaults_and_every_rail_has_a_setting() -> None:
    assert RailSettings().rails(FleetSettings().fleet()) == Rails()
    one = WindowSettings.model_validate({"days": ["mon", "sun"], "start": "22:00", "end": "04:00"})
    made = RailSettings(windows=(one,)).rails(Fleet())
    assert made.windows == (Window(days=frozenset({0, 6}), start=time(22), end=time(4), zone=UTC),)
