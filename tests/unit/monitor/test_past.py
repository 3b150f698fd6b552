"""What is read once of a target that this process has not probed yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import event

from monitor.status import status_json
from monitor.stores.sql import SqlStore
from tests.fake_site import World


async def test_scrapes_before_the_first_sweep_read_a_targets_past_once(tmp_path: Path) -> None:
    service = World(folder=tmp_path).service()
    await service.prepare()
    store = service.store
    assert isinstance(store, SqlStore)
    asked: list[str] = []
    event.listen(store._db._backend.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    first = status_json(service, series=0)
    read = len(asked)
    again = status_json(service, series=0)
    of_this_target = [q for q in asked[read:] if "FROM epochs" in q or "FROM probes" in q]
    assert [q for q in asked[:read] if "FROM epochs" in q], "the first one does read it"
    assert not of_this_target
    assert again["targets"][0]["verdict"] == first["targets"][0]["verdict"]
    await service.aclose()


async def test_another_process_reads_what_was_found_before_it_and_its_own_probes_from_then_on(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    await service.tick("prod")
    await service.aclose()
    later = world.service()
    before = later.view("prod")
    assert (before.up, before.last_sweep_at) == (True, later.store.sweeps("prod")[-1].at)
    assert later.watched("prod") is not None
    await later.tick("prod")
    assert later.view("prod").sweeps == 1
    await later.aclose()


@pytest.mark.parametrize("known", [True, False])
async def test_it_is_read_anew_where_a_target_is_measured_in_another_way(tmp_path: Path, known: bool) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.prepare()
    if known:
        assert service.view("prod").last_sweep_at is None
    other = world.service()
    await other.tick("prod")
    await other.aclose()
    service.prober.forget("prod")
    assert service.view("prod").last_sweep_at is not None
    await service.aclose()
