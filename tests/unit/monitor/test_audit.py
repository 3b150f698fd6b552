"""The chain of hashes: whatever is done to a kept log is found, and named."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.audit import BEFORE_ALL, AuditEntry, SealedEntry, canonical, sealed, verify

BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines on which much else runs."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = st.text(max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=3,
)
ENTRIES = st.builds(
    AuditEntry,
    at=st.datetimes(timezones=st.just(UTC)), actor=WORDS, action=WORDS, subject=WORDS,
    details=st.dictionaries(WORDS, PLAIN, max_size=3),
)  # fmt: skip


def chain(entries: list[AuditEntry]) -> list[SealedEntry]:
    log: list[SealedEntry] = []
    for entry in entries:
        log.append(sealed(entry, seq=len(log) + 1, previous=log[-1].hash if log else BEFORE_ALL))
    return log


LOGS = st.lists(ENTRIES, min_size=1, max_size=8).map(chain)


@BUSY
@given(LOGS)
def test_a_log_as_it_was_kept_is_intact(log: list[SealedEntry]) -> None:
    for kept in ("", *(e.hash for e in log)):
        verdict = verify(log, head=kept)
        assert (verdict.intact, verdict.entries, verdict.head) == (True, len(log), log[-1].hash)


@BUSY
@given(LOGS, st.data())
def test_an_edit_of_any_field_is_found_and_named(log: list[SealedEntry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log) - 1))
    name = data.draw(st.sampled_from([f.name for f in fields(SealedEntry)]))
    before: Any = getattr(log[at], name)
    after = data.draw((st.integers() if name == "seq" else st.text(max_size=70)).filter(lambda v: v != before))
    verdict = verify([*log[:at], replace(log[at], **{name: after}), *log[at + 1 :]])
    assert not verdict.intact
    assert (verdict.entries, f"entry {at + 1} " in verdict.why) == (at, True)


@BUSY
@given(LOGS, st.data())
def test_a_removal_is_found(log: list[SealedEntry], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(log) - 1))
    end = data.draw(st.integers(begin + 1, len(log)))
    left = [*log[:begin], *log[end:]]
    assert verify(left).intact == (end == len(log)), "only the end can go without a hash that was kept elsewhere"
    assert not verify(left, head=log[-1].hash).intact


@BUSY
@given(LOGS, st.randoms())
def test_another_order_is_found(log: list[SealedEntry], random: Random) -> None:
    moved = log.copy()
    random.shuffle(moved)
    assert verify(moved).intact == (moved == log)


@BUSY
@given(LOGS, ENTRIES, st.data())
def test_an_entry_put_between_is_found(log: list[SealedEntry], entry: AuditEntry, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log) - 1))
    added = sealed(entry, seq=at + 1, previous=log[at].previous)
    assert not verify([*log[:at], added, *log[at:]]).intact
    assert verify([*log[:at], added, *log[at + 1 :]]).intact == (at == len(log) - 1 or added == log[at])


@BUSY
@given(LOGS, ENTRIES)
def test_a_log_sealed_anew_is_found_by_a_hash_kept_elsewhere(log: list[SealedEntry], entry: AuditEntry) -> None:
    other = chain([replace(entry, subject=f"{log[0].subject}x")])
    for kept in log[1:]:
        other.append(sealed(
            AuditEntry(at=datetime.fromisoformat(kept.at), actor=kept.actor, action=kept.action, subject=kept.subject,
                       details=json.loads(kept.details)),
            seq=kept.seq, previous=other[-1].hash,
        ))  # fmt: skip
    assert verify(other).intact
    assert "written anew" in verify(other, head=log[-1].hash).why


def test_the_hash_can_be_computed_elsewhere() -> None:
    entry = AuditEntry(at=datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))), actor="ann", action="paused",
                       subject="prod", details={"until": None, "b": 0.1})  # fmt: skip
    kept = sealed(entry, seq=7, previous="f" * 64)
    said = (
        '{"action":"paused","actor":"ann","at":"2026-01-01T12:00:00.000000+00:00","details":"{\\"b\\":0.1,\\"until\\":null}",'
        f'"previous":"{"f" * 64}","seq":7,"subject":"prod"}}'
    )
    assert kept.hash == hashlib.sha256(said.encode()).hexdigest()
    assert kept.to_json()["details"] == {"until": None, "b": 0.1}


@pytest.mark.parametrize(("wrong", "refusal"), [({"x": float("nan")}, ValueError), ({"x": {1}}, TypeError)])
def test_only_plain_values_are_kept(wrong: dict[str, object], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        canonical(wrong)
