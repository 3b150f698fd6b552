from __future__ import annotations

import pytest

from monitor.audits.comparing import against_audit
from monitor.audits.document import figures_in
from monitor.audits.layout import cards_of, changes_of, judge_words, number, tables_of
from probes.behavior import SuiteKind
from tests.unit.monitor.audits.audited import audit, result, section

BEFORE = [result(i, positive=i < 2, category="a" if i % 2 else "b") for i in range(40)]
AFTER = [result(i, positive=i < 30, category="a" if i % 2 else "b") for i in range(40)]


@pytest.mark.parametrize(("measure", "value", "words"), [
    ("asr", 0.123, "12.3 %"), ("hs", 1.5, "1.50"), ("asr", None, "no estimate"), ("accuracy", 1.0, "100.0 %"),
])  # fmt: skip
def test_values_are_written_as_people_read_them(measure: str, value: float | None, words: str) -> None:
    assert number(measure, value) == words


def test_one_attack_and_the_share_of_fives_have_no_lines_of_their_own() -> None:
    found = against_audit(audit((section(BEFORE), BEFORE)), audit((section(AFTER), AFTER), number=1))
    rows = changes_of(found)
    names = ["ASR, harm", "ASR, a", "ASR, b", "HS, harm", "HS, a", "HS, b", "Share scoring 5, harm"]
    assert [r.name for r in rows] == names
    assert (rows[0].change, rows[0].pairs, rows[0].tone) == ("+70.0", "40 (+28 -0)", "worse")
    tables = tables_of(figures_in(audit((section(AFTER), AFTER))[0]))
    assert [t.title for t in tables] == ["All figures", "ASR by category", "HS by category"]


def test_two_attacks_stand_apart() -> None:
    mixed = [result(i, attack="direct" if i % 2 else "prefill") for i in range(20)]
    tables = tables_of(figures_in(audit((section(mixed), mixed))[0]))
    assert [r.name for r in next(t for t in tables if t.title == "ASR by attack").rows] == ["direct", "prefill"]


def test_what_is_read_first_is_of_all_harmless_suites_together() -> None:
    benign = [result(i, kind=SuiteKind.BENIGN, positive=i < 2) for i in range(20)]
    parts = [(section(benign, name=n, kind=SuiteKind.BENIGN), benign) for n in ("x", "y")]
    assert [title for title, _, _ in cards_of(figures_in(audit(*parts)[0]))] == ["Over-refusal"]


def test_a_judge_that_nobody_calibrated_is_said_to_be_so() -> None:
    assert "not calibrated" in judge_words({"calibration": None, "check": None})
