"""What a supervisor is to serve: promotions, roll-backs and fences, written down whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.errors import Fenced, StageError
from deploy.record import PromotionRecord, read_record, write_record

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_roll_back_leads_to_the_release_before_and_never_to_one_that_was_left() -> None:
    record = PromotionRecord()
    for release in ("a", "b", "c"):
        record = record.promoted(release, at=NOW)
    assert (record.previous, record.earlier) == ("b", ("b", "a"))
    record = record.rolled_back("b", at=NOW)
    assert (record.desired, record.previous) == ("b", "a")
    record = record.rolled_back("a", at=NOW)
    assert (record.desired, record.earlier) == ("a", ())
    assert record.promoted("c", at=NOW).promoted("b", at=NOW).previous == "c", "a new promotion counts anew"


def test_the_same_release_again_is_no_new_promotion() -> None:
    record = PromotionRecord().promoted("a", at=NOW)
    assert record.promoted("a", at=NOW) is record


def test_a_later_claim_fences_the_earlier_one() -> None:
    first = PromotionRecord().claimed("one", at=NOW)
    second = first.claimed("two", at=NOW)
    assert (first.fence, second.fence) == (1, 2)
    assert second.admits(2) == second
    with pytest.raises(Fenced, match="holder two took over"):
        second.admits(1)
    assert second.admits(7).fence == 7, "a record that was lost takes over the fence of whoever holds it"


def test_the_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "r").write_text(json.dumps({"active": "a@1"}))
    record = read_record(tmp_path / "r")
    assert (record.desired, record.fence) == ("a@1", 0)
    assert record.promoted("b@2", at=NOW).previous == "a@1"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"active": null}', '{"active": "a", "fence": "x"}', '{"active": "a", "history": [1]}'],
)
def test_a_damaged_record_is_named_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "r").write_text(text)
    with pytest.raises(StageError, match="r is damaged; delete it"):
        read_record(tmp_path / "r")


def test_a_record_that_can_not_be_written_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="nothing was changed"):
        write_record(tmp_path / "none" / "r", PromotionRecord())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # CI shares its processors
@given(st.lists(st.tuples(st.sampled_from(["promote", "back", "claim"]), st.sampled_from("abcd")), max_size=120))
def test_any_history_survives_its_file_and_leads_somewhere_else(steps: list[tuple[str, str]]) -> None:
    record = PromotionRecord()
    for verb, release in steps:
        if verb == "promote":
            record = record.promoted(release, at=NOW)
        elif verb == "claim":
            record = record.claimed(release, at=NOW)
        elif record.previous:
            gone = record.desired
            record = record.rolled_back(record.previous, at=NOW)
            assert gone not in record.earlier
        assert record.desired not in record.earlier
        assert len(record.history) <= 50
    assert PromotionRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_quarantine_ends_with_the_next_promotion_of_the_same_release_too() -> None:
    record = PromotionRecord().promoted("a@1", at=NOW).promoted("b@2", at=NOW)
    kept = PromotionRecord.from_json(record.quarantined("incident i").to_json())
    assert (kept.withheld, kept.desired) == ("incident i", "b@2")
    assert kept.promoted("b@2", at=NOW) == kept.lifted() == record
    assert kept.promoted("c@3", at=NOW).withheld == kept.rolled_back("a@1", at=NOW).withheld == ""
