from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.audits.plan import AuditPlan, next_runs
from monitor.audits.running import AuditRules
from monitor.schedule import Rounds
from monitor.service import Service
from monitor.store import Pause
from probes.probe import Probe
from probes.target import Completion
from tests.fake_site import FakeTarget, World

DAILY = AuditPlan(name="daily", cron="0 6 * * *", suites=("harm",), keep=2)


def world_of(tmp_path: Path, *plans: AuditPlan) -> World:
    return World(folder=tmp_path, audits=AuditRules(plans=plans or (DAILY,)))


async def looked(service: Service) -> tuple[str, ...]:
    await service.planned.look()
    await service.planned.settled()
    return service.audits.archive.ids()


async def test_what_is_due_is_made_once_and_what_was_missed_is_made_up_for_once(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    assert await looked(service) == (), "the plan begins now"
    world.clock.now += timedelta(hours=5)
    assert await looked(service) == ()
    world.clock.now += timedelta(hours=2)
    (first,) = await looked(service)
    assert await looked(service) == (first,)
    await service.aclose()
    world.clock.now += timedelta(days=9)
    service = world.service()
    assert len(await looked(service)) == 2, "nine days are made up for by one"
    assert len(await looked(service)) == 2
    document = service.audits.archive.read(first)
    assert (document["scheduled"], document["by"]) == ("daily", "alignd")
    assert [s["suite"] for s in document["sections"]] == ["harm"]
    await service.aclose()


async def test_an_audit_that_was_meant_is_made_after_a_kill(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await looked(service)
    world.clock.now += timedelta(days=1)
    service.planned._put_down()  # and killed here
    (begun,) = service.audits.archive.unfinished()
    await service.aclose()
    service = world.service()
    assert await looked(service) == (begun.id,)
    assert service.audits.archive.unfinished() == ()
    await service.aclose()


async def test_a_pause_and_an_open_incident_are_waited_for(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await looked(service)
    world.clock.now += timedelta(days=1)
    service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock()))
    assert await looked(service) == ()
    assert service.planned.failed["prod"] == 0, "a pause is no failure"
    service.store.resume("prod", by="ann", at=world.clock())
    world.deployer.serve(world.drifted)
    for _ in range(20):
        await service.tick("prod")
    assert service.store.incidents(open_only=True)
    assert await looked(service) == ()
    while opened := service.store.incidents(open_only=True):
        await service.reconcile(opened[0].id)
    assert len(await looked(service)) == 1
    await service.aclose()


async def test_what_fails_is_counted_and_tried_again_later(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await looked(service)
    world.clock.now += timedelta(days=1)
    world.mute = True
    assert await looked(service) == ()
    assert service.planned.to_json("prod")["failed"] == 1
    assert "it goes on when it is run again" in service.planned.to_json("prod")["why"]
    world.mute = False
    assert await looked(service) == (), "not at once"
    world.clock.now += timedelta(minutes=20)
    assert len(await looked(service)) == 1
    assert service.planned.to_json("prod") == {
        "newest_at": service.planned.newest["prod"].isoformat(), "failed": 1, "why": "",
    }  # fmt: skip
    await service.aclose()


async def test_an_audit_under_way_goes_on_after_its_target_was_changed(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await looked(service)
    world.clock.now += timedelta(days=1)
    asked = asyncio.Event()

    class Silent(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            del probe
            asked.set()
            return await asyncio.get_running_loop().create_future()

    before = service.sites["prod"]
    service.sites["prod"] = replace(before, target=Silent(world, ""))
    rounds = Rounds(service, guard)
    rounds.start()
    await service.planned.look()
    await asyncio.wait_for(asked.wait(), 5)
    (begun,) = service.audits.archive.unfinished()
    await service.planned.let_go({"other"})
    assert service.planned._running
    await rounds.adopt({"prod": before})
    assert await looked(service) == (begun.id,)
    assert not service.planned.why
    await rounds.stop()
    await service.aclose()


async def guard(action: str, subject: str, work: Awaitable[None]) -> bool:
    del action, subject
    await work
    return True


async def test_a_rollout_midway_begins_it_anew(tmp_path: Path) -> None:
    world = world_of(tmp_path, replace(DAILY, suites=()))

    class Switching(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            if "benign" in probe.id and world.active == world.good.id:
                world.deployer.serve(world.drifted)
            return await super().complete(probe)

    world.amend = lambda site, _: replace(site, target=Switching(world, ""))
    service = world.service()
    await looked(service)
    world.clock.now += timedelta(days=1)
    assert await looked(service) == ()
    world.clock.now += timedelta(minutes=20)
    (made,) = await looked(service)
    assert service.audits.archive.read(made)["release"]["id"] == world.drifted.id
    await service.aclose()


async def test_an_audit_that_has_to_begin_anew_is_not_lost_to_a_persons(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    begun = service.audits.request("prod", suites=("harm",), scheduled="daily")
    with service.audits.archive.alone():
        service.audits.archive.begin(begun)
        service.planned._begin_anew(begun)
    assert service.audits.archive.unfinished() == (begun,), "it fails again, and begins anew then"
    service.planned._begin_anew(begun)
    (fresh,) = service.audits.archive.unfinished()
    assert (fresh.asked, fresh.id == begun.id) == (begun.asked, False), "answers of both would have the same names"
    await service.aclose()


async def test_the_newest_of_a_plan_stay_and_a_persons_own(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await looked(service)
    own = service.audits.request("prod", suites=("harm",), by="ann")
    await service.audits.run(own)
    for _ in range(3):
        world.clock.now += timedelta(days=1)
        await looked(service)
    assert len(service.audits.archive.ids()) == 3
    assert own.id in service.audits.archive.ids()
    await service.aclose()


async def test_a_persons_audit_is_waited_for_and_a_stop_cancels(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await looked(service)
    world.clock.now += timedelta(days=1)
    with service.audits.archive.alone():
        assert await looked(service) == ()
    await service.planned.look()
    await service.aclose()
    assert service.audits.archive.ids() == ()
    service = world.service()
    assert len(await looked(service)) == 1
    await service.aclose()


async def test_what_a_person_left_unfinished_holds_up_no_plan_and_the_other_way_round(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    service = world.service()
    await looked(service)
    left = service.audits.request("prod", seed=7, by="ann")
    with service.audits.archive.alone():
        service.audits.archive.begin(left)
    world.clock.now += timedelta(days=1)
    (made,) = await looked(service)
    assert service.audits.archive.read(made)["scheduled"] == "daily"
    assert service.audits.archive.unfinished() == (left,)
    world.clock.now += timedelta(days=1)
    service.planned._put_down()
    *_, planned = service.audits.archive.unfinished()
    service.audits.drop_unfinished("prod")
    assert service.audits.archive.unfinished() == (planned,), "a person drops what people began"
    assert service.audits.request("prod", seed=8, by="ann").id
    assert await looked(service) == (planned.id, made)
    await service.aclose()


async def test_plans_that_are_due_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    monthly = AuditPlan(name="monthly", cron="0 6 1 * *", suites=("harm",))
    world = world_of(tmp_path, DAILY, monthly)
    service = world.service()
    await looked(service)
    for _ in range(2):
        world.clock.now = (world.clock.now + timedelta(days=31)).replace(day=1, hour=7)
        await looked(service)
        await looked(service)
    read = service.audits.archive.read
    made = [read(a) for a in service.audits.archive.ids()]
    assert [m["scheduled"] for m in made] == ["monthly", "daily"] * 2
    assert made[0]["period"]["from"] == made[2]["period"]["to"], "since the plan's own last one"
    await service.aclose()


async def test_what_a_plan_began_goes_with_the_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "alignd")
    world = world_of(tmp_path, replace(DAILY, suites=("nothing-of-this-name",)))
    service = world.service()
    await looked(service)
    world.clock.now += timedelta(days=1)
    assert await looked(service) == ()
    assert "nothing-of-this-name" in service.planned.why["prod"]
    await service.aclose()
    world.audits = AuditRules(plans=(DAILY,))
    service = world.service()
    (made,) = await looked(service)
    assert [s["suite"] for s in service.audits.archive.read(made)["sections"]] == ["harm"]
    world.clock.now += timedelta(days=1)
    service.planned._put_down()
    await service.aclose()
    world.audits = AuditRules(plans=(replace(DAILY, name="other"),))
    service = world.service()
    assert await looked(service) == (made,)
    assert service.audits.archive.unfinished() == ()
    dropped = [getattr(r, "why", "") for r in caplog.records if r.getMessage() == "audit_dropped"]
    assert dropped == ["plan daily asks other suites now", "plan daily is gone"]
    await service.aclose()


async def test_the_daemon_looks_at_its_plans_only_where_it_has_some(tmp_path: Path) -> None:
    bare = World(folder=tmp_path / "bare")
    for service, planned in ((world_of(tmp_path / "planned").service(), True), (bare.service(), False)):
        rounds = Rounds(service, guard)
        rounds.start()
        assert (service.timing.next_run("audit-audits") is not None) == planned
        await rounds.stop()
        await service.aclose()


def test_the_next_runs_of_all_plans_stand_in_order() -> None:
    plans = (DAILY, AuditPlan(name="monthly", cron="0 6 1 * *", time_zone="Europe/Berlin"))
    found = next_runs(plans, after=datetime(2026, 1, 31, 5, tzinfo=UTC), count=3)
    assert [(at.day, at.hour, p.name) for at, p in found] == [(31, 6, "daily"), (1, 5, "monthly"), (1, 6, "daily")]


@pytest.mark.parametrize("planned", [True, False])
def test_failures_are_counted_only_where_audits_are_planned(tmp_path: Path, planned: bool) -> None:
    plan = replace(DAILY, targets=() if planned else ("other",))
    state = world_of(tmp_path, plan).service().planned.to_json("prod")
    assert state == {"newest_at": None, "failed": 0 if planned else None, "why": ""}
