from __future__ import annotations

import pytest

from monitor.audits.comparing import against_audit, against_profile
from probes.behavior import SuiteKind
from probes.profile import profile_of
from probes.result import ProbeResult
from probes.statistics.differences import independent_difference, matched_difference
from tests.unit.monitor.audits.audited import audit, result, section, sweep


def harm(positive: set[int], n: int = 40, **more: object) -> list[ProbeResult]:
    return [result(i, positive=i in positive, category="a" if i % 2 else "b", **more) for i in range(n)]  # type: ignore[arg-type]


def change(found: dict[str, object], measure: str, group: str = "all", name: str = "") -> dict[str, object]:
    rows = found["changes"]
    assert isinstance(rows, list)
    (row,) = [c for c in rows if (c["measure"], c["group"], c["name"]) == (measure, group, name)]
    return dict(row)


def test_pairs_are_counted_prompt_by_prompt() -> None:
    before, after = harm({0, 1, 2}), harm({2, 3, 4, 5, 6, 7, 8, 9})
    found = against_audit(audit((section(before), before)), audit((section(after), after), number=1))
    asr = change(found, "asr")
    assert (asr["gained"], asr["lost"], asr["pairs"]) == (7, 2, 40)
    assert (asr["before"], asr["after"], asr["value"]) == pytest.approx((3 / 40, 8 / 40, 5 / 40))
    assert (asr["lower"], asr["upper"]) == pytest.approx(matched_difference(7, 2, 40))
    assert change(found, "asr", "category", "a")["pairs"] == 20
    assert change(found, "hs")["value"] == pytest.approx(4 * 5 / 40)
    assert found["not_compared"] == []


def test_what_got_worse_or_better_is_said_by_measure() -> None:
    none, many = harm(set()), harm(set(range(30)))
    sections = section(none), section(many)
    worse = against_audit(audit((sections[0], none)), audit((sections[1], many), number=1))
    better = against_audit(audit((sections[1], many)), audit((sections[0], none), number=1))
    same = against_audit(audit((sections[0], none)), audit((sections[0], none), number=1))
    assert [change(f, "asr")["word"] for f in (worse, better, same)] == ["worse", "better", "no proof of change"]
    solved = [result(i, quality=1.0) for i in range(30)]
    failed = [result(i, quality=0.0) for i in range(30)]
    task = section(solved, name="t", kind=SuiteKind.TASK)
    fell = against_audit(audit((task, solved)), audit((task, failed), number=1))
    assert change(fell, "accuracy")["word"] == "worse"


def test_a_pair_with_a_missing_side_is_left_out() -> None:
    before = harm({0})
    after = [result(0, positive=None, category="b"), *harm(set())[1:]]
    found = against_audit(audit((section(before), before)), audit((section(after), after), number=1))
    assert (change(found, "asr")["pairs"], change(found, "asr")["before"]) == (39, 0.0)


@pytest.mark.parametrize(("more", "words"), [
    ({"max_tokens": 64}, "another max_tokens"), ({"sha256": "x" * 64}, "the suite holds other prompts"),
])  # fmt: skip
def test_what_was_asked_in_another_way_is_not_compared_and_it_is_said_why(more: dict[str, str], words: str) -> None:
    results = harm({0})
    found = against_audit(audit((section(results), results)), audit((section(results, **more), results), number=1))  # type: ignore[arg-type]
    assert found["changes"] == []
    assert found["not_compared"] == [{"suite": "harm", "why": [words]}]


def test_a_suite_that_was_not_asked_and_outcomes_that_stayed_away_are_told() -> None:
    results = harm({0})
    other = audit((section(results, name="other"), results))
    found = against_audit(other, audit((section(results), results), number=1))
    assert found["not_compared"][0]["why"] == ["the earlier audit did not ask it"]
    bare = audit((section(results), results))[0], []
    found = against_audit(bare, audit((section(results), results), number=1))
    assert found["not_compared"][0]["why"] == ["the earlier audit's outcomes.json is not there"]


def test_all_together_is_compared_only_where_every_suite_is() -> None:
    benign = [result(i, kind=SuiteKind.BENIGN, positive=i < 2) for i in range(20)]
    both = [(section(benign, name=n, kind=SuiteKind.BENIGN), benign) for n in ("x", "y")]
    whole = against_audit(audit(*both), audit(*both, number=1))
    part = against_audit(audit(both[0]), audit(*both, number=1))
    assert {c["suite"] for c in whole["changes"]} == {"x", "y", ""}
    assert {c["suite"] for c in part["changes"]} == {"x"}


def test_a_profile_is_another_sample() -> None:
    before, after = harm({0, 1}), harm(set(range(12)))
    benign = [result(i, kind=SuiteKind.BENIGN, positive=i < 2) for i in range(20)]
    profile = profile_of("good@0123456789ab", harm=sweep(before), benign=[sweep(benign)], task=None)
    document, _ = audit((section(after), after), (section(benign, name="b", kind=SuiteKind.BENIGN), benign))
    found = against_profile(profile, document, same_way=True)
    asr = change(found, "asr")
    estimate = document["figures"][0]["estimate"]
    sides = [(e["value"], e["lower"], e["upper"]) for e in (profile.to_json()["asr"], estimate)]
    assert (asr["lower"], asr["upper"]) == pytest.approx(independent_difference(*sides))
    assert (asr["pairs"], asr["word"]) == (0, "worse")
    assert change(found, "over_refusal")["value"] == 0.0
    refused = against_profile(profile, document, same_way=False)
    assert (refused["changes"], len(refused["not_compared"])) == ([], 2)
