"""What is made of alerts that come twice, late or in the wrong order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.hook_settings import AlertRule
from monitor.web.alerts import Alert, Delivery, Fate, Seen, fate_of, key_of, rule_for, seen_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=9)
RULE = AlertRule()


def alert(status: str = "firing", hours: int = 0, **labels: str) -> Alert:
    return Alert.model_validate(
        {"status": status, "labels": labels, "startsAt": NOW + timedelta(hours=hours), "fingerprint": "f"}
    )


@pytest.mark.parametrize(
    ("came", "seen", "fate"),
    [
        (alert(), None, Fate.ACT),
        (alert("resolved"), None, Fate.RESOLVED),
        (alert(), Seen(starts_at=NOW, resolved=False), Fate.DUPLICATE),
        (alert(), Seen(starts_at=NOW, resolved=True), Fate.RESOLVED),
        (alert(hours=-1), Seen(starts_at=NOW, resolved=False), Fate.OLDER),
        (alert("resolved", hours=-1), Seen(starts_at=NOW, resolved=False), Fate.OLDER),
        (alert(hours=1), Seen(starts_at=NOW, resolved=True), Fate.ACT),
    ],
)
def test_each_occurrence_is_acted_on_once(came: Alert, seen: Seen | None, fate: Fate) -> None:
    assert fate_of(came, RULE, seen, now=LATER) is fate
    assert fate_of(came, None, seen, now=LATER) is (Fate.UNMATCHED if fate is Fate.ACT else fate)


@given(st.lists(st.tuples(st.sampled_from(["firing", "resolved"]), st.integers(0, 3)), max_size=30))
def test_in_whatever_order_they_come(came: list[tuple[str, int]]) -> None:
    seen: Seen | None = None
    acted: list[int] = []
    over: set[int] = set()
    for status, hours in came:
        one = alert(status, hours)
        if fate_of(one, RULE, seen, now=LATER) is Fate.ACT:
            acted.append(hours)
            assert hours not in over
        if status == "resolved":
            over.add(hours)
        seen = seen_after(one, seen)
    assert acted == sorted(set(acted)), "each once, and never an older one"


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_what_has_yet_to_start_counts_for_nothing(status: str) -> None:
    assert fate_of(alert(status), RULE, None, now=NOW - timedelta(minutes=6)) is Fate.AHEAD
    assert fate_of(alert(status), RULE, None, now=NOW - timedelta(minutes=4)) is not Fate.AHEAD, "clocks differ a bit"


def test_the_first_rule_that_matches_counts() -> None:
    rules = (AlertRule(match={"team": "a", "severity": "page"}, target="x"), AlertRule(match={"team": "a"}, target="y"))
    assert rule_for(alert(team="a", severity="page"), rules) is rules[0]
    assert rule_for(alert(team="a"), rules) is rules[1]
    assert rule_for(alert(team="b"), rules) is None


def test_another_group_is_another_alert() -> None:
    assert key_of("a", alert()) != key_of("b", alert())
    assert len(key_of("a", alert())) == 24


@pytest.mark.parametrize(("version", "known"), [("4", True), ("1", True), ("3", False), ("5", False), ("", False)])
def test_other_versions_are_refused(version: str, known: bool) -> None:
    body = {"version": version, "groupKey": "g", "alerts": []}
    if known:
        assert Delivery.model_validate(body).version == version
        return
    with pytest.raises(ValidationError, match=r"'4' or '1'"):
        Delivery.model_validate(body)
