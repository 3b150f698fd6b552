"""The checks that every store's outbox must pass; ``monitor.store_testing`` calls them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.errors import OpenIncident, StaleIncident
from monitor.incident import IncidentId, Outcome, advance, open_incident
from monitor.letter import Condition, Letter, LetterState, Standing
from monitor.notifier import Kind, Notification, Severity
from monitor.store import Store

__all__ = ["check_letters"]

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def check_letters(one: Store, other: Store) -> None:
    """Check the outbox: letters are put down whole and once, with what they tell of or not at all.

    Raises:
        AssertionError: It breaks the port's contract; the message says where.
    """
    _check_states(one, other)
    _check_conditions(one, other)
    _check_transitions(one, other)


def _check_states(one: Store, other: Store) -> None:
    first, second = _letter("a", "n1"), _letter("a", "n2")
    one.post([first, second, _letter("b", "n1")])
    found = other.letters("a")
    _same([replace(f, id=0) for f in found], [first, second], "letters are read as they were put down, oldest first")
    other.post([replace(first, why="again"), _letter("a", "n3")])
    _same([f.notification.id for f in one.letters("a")], ["n1", "n2", "n3"], "a channel gets one letter of each id")
    _same(one.letters("a")[0], found[0], "a letter that is there stays as it is")
    later = replace(found[0], failures=2, not_before=_NOW + timedelta(seconds=9), why="away")
    one.settle([later])
    _same(other.letters("a")[0], later, "a letter is read as it was settled")
    _same([f.notification.id for f in one.letters("a", limit=1)], ["n1"], "the oldest letter")
    digest, parts = _letter("a", "d"), other.letters("a")
    one.settle([replace(p, state=LetterState.DIGESTED) for p in parts], digest=digest)
    _same([f.notification.id for f in other.letters("a")], ["d"], "a digest takes the place of its parts")
    _same(len(one.letters("a", state=LetterState.DIGESTED)), 3, "its parts are kept")
    wanted = Standing(
        counts={LetterState.PENDING: 1, LetterState.DIGESTED: 3}, oldest_at=digest.notification.at, why="away"
    )
    _same(other.standings().get("a"), wanted, "how a channel stands")
    one.forget_letters(_NOW)
    _same(len(one.letters("a")), 1, "what is not older is kept")
    one.forget_letters(_NOW + timedelta(seconds=1))
    _same((other.letters("a"), other.standings()), ((), {}), "what is older is forgotten, whatever became of it")


def _check_conditions(one: Store, other: Store) -> None:
    frozen = Condition(target="t", kind=Kind.JUDGE_FROZEN)
    replicas = [Condition(target="t", kind=Kind.DEPLOYMENT_MISMATCH, subject=s) for s in ("h:1", "h:2")]
    one.post([_letter("c", "begins")], began=[frozen, *replicas])
    one.post([], began=[frozen])
    _same(other.conditions(), {frozen, *replicas}, "a condition that began lasts")
    other.post([_letter("c", "ends")], ended=[replicas[0]])
    _same(one.conditions(), {frozen, replicas[1]}, "a condition that ended is over, and no other is")
    _same([f.notification.id for f in one.letters("c")], ["begins", "ends"], "letters go with their conditions")


def _check_transitions(one: Store, other: Store) -> None:
    incident = open_incident(
        incident=IncidentId("told"), target="told", release="r", recipes=(), now=_NOW, note="n"
    )
    one.create(incident, letters=[_letter("d", "opened")])
    with suppress(OpenIncident):
        other.create(replace(incident, id=IncidentId("told2")), letters=[_letter("d", "refused")])
    ended = advance(incident, Outcome.CLEARED, now=_NOW, note="cleared")
    one.save(ended, letters=[_letter("d", "ended")])
    with suppress(StaleIncident):
        other.save(ended, letters=[_letter("d", "stale")])
    found = [f.notification.id for f in other.letters("d")]
    _same(found, ["opened", "ended"], "letters are put down with their transition, or not at all")


def _letter(channel: str, identity: str) -> Letter:
    said = Notification(id=identity, kind=Kind.ESCALATED, severity=Severity.CRITICAL, at=_NOW, title="t", text="x")
    return Letter(channel=channel, notification=said, not_before=_NOW)


def _same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: found {found}, wanted {wanted}")
