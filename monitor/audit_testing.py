"""The checks of a store's audit log; ``monitor.store_testing`` makes them after all the others."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from monitor.audit import AuditEntry, verify
from monitor.store import Store

__all__ = ["check_audit"]

_NOW = datetime(2027, 1, 1, tzinfo=UTC)
_TOLD = {
    "incident_opened", "incident_moved", "order_placed", "order_obeyed", "order_dropped", "paused", "resumed",
    "marked_good", "mark_removed", "baseline_kept", "epoch_begun", "judge_accepted",
    "breaker_reset", "lift_placed", "lift_done", "lift_dropped",
}  # fmt: skip


def check_audit(one: Store, other: Store) -> None:
    """Check that what the earlier checks did is told, once, and that entries form one chain whoever adds them.

    Raises:
        AssertionError: It breaks the port's contract.
    """
    log = list(other.audit_chain())
    told = Counter(e.action for e in log)
    _require(told.keys() == _TOLD, f"what was done is told: found {sorted(told)}, wanted {sorted(_TOLD)}")
    opened = sorted(e.subject for e in log if e.action == "incident_opened")
    there = sorted(incident.id for incident in one.incidents())
    _require(opened == there, f"an incident is told of once, a refused one never: found {opened}, wanted {there}")
    _require(verify(log).intact, f"the log is one chain: {verify(log).why}")
    given = [
        AuditEntry(at=_NOW + timedelta(seconds=i), actor="ann", action="looked", subject=subject, details=details)
        for i, (subject, details) in enumerate([("t", {"b": 1, "a": [None, "é"]}), ("t", {}), ("u", {})])
    ]
    kept = [store.append_audit(entry) for store, entry in zip((one, other, one), given, strict=True)]
    _require(list(one.audit_chain()) == [*log, *kept], "entries of both are read in the order in which they were added")
    _require(kept[0].details == '{"a":[null,"é"],"b":1}', f"details are canonical JSON: found {kept[0].details}")
    for found, wanted, what in (
        (one.audit_log(actor="ann", action="looked"), kept, "entries of an action, oldest first"),
        (one.audit_log(actor="ann", action="looked", subject="t"), kept[:2], "entries of a subject"),
        (one.audit_log(since=_NOW + timedelta(seconds=1)), kept[1:], "entries since a time"),
        (one.audit_log(limit=2), kept[1:], "the newest entries"),
        (one.audit_log(actor="nobody"), [], "entries of nobody"),
    ):
        _require(list(found) == wanted, f"{what}: found {found}, wanted {wanted}")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
