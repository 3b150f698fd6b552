"""The status asks the store once for all targets, and works a watch out once."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from monitor.incident import IncidentId, Outcome, Wait, advance, noted, open_incident
from monitor.service import Service
from monitor.status import incident_json, listed_incidents, status_json
from monitor.stores.sql import SqlStore
from probes.probe import Probe
from probes.target import Completion
from tests.fake_site import Clock, FakeTarget, World


async def fleet(folder: Path, n: int) -> Service:
    """Many targets on one server, each swept twice."""
    world = World(folder=folder)
    site = world.site()
    sites = {f"t{i}": replace(site, name=f"t{i}") for i in range(n)}
    service = Service(sites=sites, store=SqlStore(f"sqlite:///{folder}/fleet.db"), clock=world.clock)
    for name in sites:
        await service.tick(name)
        await service.tick(name)
    return service


async def statements(folder: Path, n: int) -> int:
    service, seen = await fleet(folder, n), []

    def note(*arguments: object) -> None:
        seen.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert len(status_json(service, series=0)["targets"]) == n
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        await service.aclose()
    return len(seen)


async def test_the_store_is_not_asked_for_each_target(tmp_path: Path) -> None:
    assert 0 < await statements(tmp_path / "one", 1) == await statements(tmp_path / "five", 5)


async def test_a_watch_is_worked_out_once(tmp_path: Path) -> None:
    service = await fleet(tmp_path, 1)
    first, again = (status_json(service, series=0)["targets"][0] for _ in range(2))
    assert again["strata"] is first["strata"]
    await service.tick("t0")
    (after,) = status_json(service, series=0)["targets"]
    assert after["evidence"]["n"] > first["evidence"]["n"]
    await service.aclose()


async def test_every_target_s_incident_is_told_however_many_there_are(tmp_path: Path) -> None:
    service = await fleet(tmp_path, 1)
    at = service.clock()
    service.store.create(open_incident(
        incident=IncidentId("first"), target="t0", release="r", recipes=(), now=at, note="n"
    ))  # fmt: skip
    for i in range(120):
        later = at + timedelta(seconds=i + 1)
        service.store.create(open_incident(
            incident=IncidentId(f"of-{i}"), target=f"other-{i}", release="r", recipes=(), now=later, note="n"
        ))  # fmt: skip
    said = status_json(service)
    assert len(said["incidents"]) == 121
    (target,) = said["targets"]
    assert (target["incident"], target["incidents"]) == ("first", {"DETECTED": 1})
    assert target["newest_incident"]["state"] == "DETECTED"
    await service.aclose()


async def test_a_first_batch_that_takes_long_is_said_to_be_under_way(tmp_path: Path) -> None:
    seen = []

    class Peeks(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            seen.append(service.views["prod"].why)
            return await super().complete(probe)

    world = World(folder=tmp_path)
    world.amend = lambda site, _: replace(site, target=Peeks(world, ""))
    service = world.service()
    await service.tick("prod")
    await service.tick("prod")
    assert list(dict.fromkeys(seen)) == ["the first batch is under way", ""]
    await service.aclose()


async def test_the_log_says_why_a_batch_got_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(folder=tmp_path, mute=True)
    service = world.service()
    with caplog.at_level(logging.INFO, logger="alignd"):
        await service.tick("prod")
        world.mute = False
        await service.tick("prod")
    silent, heard = [r for r in caplog.records if r.getMessage() == "sweep"]
    assert (silent.levelname, heard.levelname) == ("WARNING", "INFO")
    assert (silent.__dict__["why"], heard.__dict__["why"]) == ("timeout 8", "")
    await service.aclose()


async def test_the_survey_is_counted_over_all_epochs_of_the_process(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await service.tick("prod")
    (first,) = status_json(service, series=0)["targets"]
    assert first["survey"] == {"scored": first["asr"]["n"], "harmful": 0.0, "missing": 0}
    world.deployer.serve(world.drifted)
    await service.tick("prod")
    (then,) = status_json(service, series=0)["targets"]
    assert then["release"] != first["release"]
    n = then["asr"]["n"]
    assert then["survey"] == {"scored": first["asr"]["n"] + n, "harmful": float(n), "missing": 0}
    await service.aclose()


@pytest.mark.parametrize(
    ("waits_for", "needed"), [(Wait.APPROVAL, True), (Wait.PERSON, True), (Wait.RAILS, False), (None, False)]
)
def test_a_person_is_needed_where_the_event_says_so_and_not_where_its_words_do(
    waits_for: Wait | None, *, needed: bool
) -> None:
    at = Clock()()
    first = open_incident(incident=IncidentId("i"), target="t", release="r", recipes=("a",), now=at, note="n")
    waiting = noted(first, now=at, note="action needed: in words", waits_for=waits_for)
    said = incident_json(waiting, at)
    assert (said["action_needed"], said["events"][-1]["waits_for"]) == (needed, waits_for)
    assert not incident_json(advance(waiting, Outcome.CLEARED, now=at, note="over"), at)["action_needed"]


async def test_what_is_open_is_listed_however_many_newer_ones_there_are(tmp_path: Path) -> None:
    service = await fleet(tmp_path, 1)
    opened = open_incident(
        incident=IncidentId("old"), target="t0", release="r", recipes=(), now=Clock()(), note="evidence"
    )
    service.store.create(opened)
    for i in range(101):
        at = opened.opened_at + timedelta(minutes=i + 1)
        later = replace(opened, id=IncidentId(f"i{i}"), target="u", opened_at=at)
        service.store.create(later)
        service.store.save(advance(later, Outcome.CLEARED, now=at, note="cleared"))
    found = [i["id"] for i in status_json(service, series=0)["incidents"]]
    assert found == [*(f"i{i}" for i in range(100, 0, -1)), "old"]
    assert [i.id for i in listed_incidents(service.store, target="t0", limit=1)] == ["old"]
    await service.aclose()
