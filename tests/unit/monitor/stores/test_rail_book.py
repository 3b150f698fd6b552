"""What rails are told of remediations."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.incident import IncidentId, Outcome, advance, open_incident
from monitor.stores.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_remediations_are_in_the_order_that_they_were_put_down_in_though_the_clock_was_set_back(tmp_path: Path) -> None:
    with closing(SqlStore(f"sqlite:///{tmp_path}/s.db")) as store:
        for name, hours in (("first", 3), ("second", 1)):
            at = NOW + timedelta(hours=hours)
            opened = open_incident(
                incident=IncidentId(name), target="t", release="r", recipes=("a",), now=at, note=""
            )
            store.create(opened)
            store.save(advance(opened, Outcome.FAILURE, now=at, note="ended"))
        assert [r.incident for r in store.history(NOW)] == ["second", "first"]
        assert [r.incident for r in store.history(NOW + timedelta(hours=2))] == ["first"]
