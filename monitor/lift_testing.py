"""The checks of a store's book of lifts; ``monitor.store_testing`` makes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.quarantine import Lift
from monitor.store import Store

__all__ = ["check_lifts"]

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def check_lifts(one: Store, other: Store) -> None:
    """Check that one lift of a target stands until it is done, whoever asks again, and that only it is ended.

    Raises:
        AssertionError: It breaks the port's contract.
    """
    _same(dict(one.lifts()), {}, "a store in which nothing was lifted")
    first = Lift(target="t", incident="i1", by="ann", at=_NOW, why="a false alarm")
    elsewhere = replace(first, target="u", incident="")
    _same(one.place_lift(first), first, "a lift is put down")
    again = replace(first, by="bob", at=_NOW + timedelta(hours=1))
    _same(other.place_lift(again), first, "the one that is there stays")
    other.place_lift(elsewhere)
    _same(dict(one.lifts()), {"t": first, "u": elsewhere}, "lifts by target")
    one.end_lift(again, at=_NOW, done=True)
    _same(set(other.lifts()), {"t", "u"}, "what is no longer the one on the book ends nothing")
    for _ in range(2):
        one.end_lift(first, at=_NOW, done=True)
        other.end_lift(elsewhere, at=_NOW, done=False)
    _same(dict(other.lifts()), {}, "lifts that were ended")
    told = [e.action for target in ("t", "u") for e in one.audit_log(subject=target) if e.action.startswith("lift")]
    _same(told, ["lift_placed", "lift_done", "lift_placed", "lift_dropped"], "each is told of once")


def _same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: found {found}, wanted {wanted}")
