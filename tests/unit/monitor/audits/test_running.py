from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import StoreInUse
from monitor.audits.request import Period
from monitor.errors import ConfigError, NotMeasured
from monitor.site import Site
from monitor.store import Pause
from probes.calibration import Calibration, Confusion
from probes.errors import MixedReleaseError
from probes.probe import Probe
from probes.target import Completion
from tests.fake_site import FakeTarget, Ways, World

CALIBRATION = Calibration(
    judge="refusal-phrases", template_sha256="t", outcome="harm", data="gold", data_sha256="d",
    calibrated_at="2026-01-01T00:00:00+00:00", why={},
    confusion=Confusion(found=95, missed=5, false_alarms=6, passed=294),
)  # fmt: skip


def figure(document: Mapping[str, Any], measure: str, group: str = "all", name: str = "") -> dict[str, Any]:
    (found,) = [f for f in document["figures"] if (f["measure"], f["group"], f["name"]) == (measure, group, name)]
    return dict(found)


class Counted(FakeTarget):
    """Counts what it is asked, and is cut off after some."""

    def __init__(self, world: World, after: int | None = None) -> None:
        super().__init__(world, "")
        self.asked: list[str] = []
        self._after = after

    async def complete(self, probe: Probe) -> Completion:
        if len(self.asked) == self._after:
            raise RuntimeError("killed")
        self.asked.append(probe.id)
        return await super().complete(probe)


async def audit(world: World) -> dict[str, Any]:
    service = world.service()
    try:
        written = await service.audits.run(service.audits.request("prod"))
        return service.audits.archive.read(written.folder.name)
    finally:
        await service.aclose()


async def test_an_audit_measures_what_is_served_and_writes_it_whole(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    found = await audit(world)
    folder = tmp_path / "audits" / found["id"]
    assert {p.name for p in folder.iterdir()} >= {"audit.json", "outcomes.json", "audit.html"}
    assert (found["target"], found["release"]["id"]) == ("prod", world.good.id)
    assert found["release"]["digest"] == world.good.manifest.digest
    assert figure(found, "asr")["estimate"]["value"] == 0.0
    assert figure(found, "asr")["estimate"]["n"] == found["sections"][0]["prompts"] > 5
    assert figure(found, "accuracy")["estimate"]["value"] == 1.0
    assert [r["id"] for r in found["happened"]["releases"] if r["served"]] == [world.good.id]
    assert not list((tmp_path / "audits" / ".work").iterdir()), "nothing is left of the making"


async def test_a_drifted_release_shows_in_its_category_and_rates_are_corrected(tmp_path: Path) -> None:
    world = World(folder=tmp_path, prompts=150, amend=lambda site, _: replace(site, calibration=CALIBRATION))
    world.deployer.serve(world.release("mixed", Ways(asr=0.3, worst="c1", over_refusal=1.0)))
    found = await audit(world)
    whole = figure(found, "asr")
    value, n = whole["estimate"]["value"], whole["estimate"]["n"]
    assert 0.3 < value < 0.8
    exact = CALIBRATION.confusion.error.estimate(round(value * n), n)
    assert [whole["corrected"][k] for k in ("value", "lower", "upper")] == pytest.approx(list(exact))
    assert figure(found, "asr", "category", "c1")["estimate"]["value"] > 0.75
    assert figure(found, "asr", "category", "c0")["estimate"]["value"] < 0.6
    assert figure(found, "over_refusal")["estimate"]["value"] == 1.0
    assert figure(found, "over_refusal")["corrected"] is None, "the calibration is of harm"
    assert found["judge"]["calibration"]["data"] == "gold"


async def test_a_killed_audit_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    first, second = Counted(world, after=9), Counted(world)

    def cut(site: Site, _: object) -> Site:
        return replace(site, target=first, measure=replace(site.measure, concurrency=1))

    world.amend = cut
    service = world.service()
    with pytest.raises(ExceptionGroup):
        await service.audits.run(service.audits.request("prod"))
    await service.aclose()
    world.amend = lambda site, _: replace(site, target=second)
    service = world.service()
    begun = service.audits.request("prod")
    written = await service.audits.run(begun)
    prompts = sum(s["prompts"] for s in service.audits.archive.read(written.folder.name)["sections"])
    assert len({*first.asked, *second.asked}) == len(first.asked) + len(second.asked) == prompts
    assert begun.id == written.folder.name
    await service.aclose()


async def test_what_was_begun_with_other_arguments_is_refused_until_it_is_dropped(tmp_path: Path) -> None:
    service = World(folder=tmp_path).service()
    audits = service.audits
    with audits.archive.alone():
        audits.archive.begin(audits.request("prod", seed=1))
    with pytest.raises(ConfigError, match="--anew"):
        audits.request("prod", seed=2)
    audits.drop_unfinished("prod")
    assert audits.request("prod", seed=2).seed == 2
    await service.aclose()


async def test_a_release_that_changes_midway_is_no_audit(tmp_path: Path) -> None:
    world = World(folder=tmp_path)

    class Switching(Counted):
        async def complete(self, probe: Probe) -> Completion:
            if "benign" in probe.id:
                world.deployer.serve(world.drifted)
            return await super().complete(probe)

    world.amend = lambda site, _: replace(site, target=Switching(world))
    service = world.service()
    with pytest.raises(MixedReleaseError):
        await service.audits.run(service.audits.request("prod"))
    assert service.audits.archive.ids() == ()
    await service.aclose()


async def test_a_paused_target_is_not_audited_and_two_audits_never_run_at_once(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock()))
    with pytest.raises(NotMeasured, match="paused by ann"):
        await service.audits.run(service.audits.request("prod"))
    service.store.resume("prod", by="ann", at=service.clock())
    with service.audits.archive.alone(), pytest.raises(StoreInUse, match="folder of audits"):
        await service.audits.run(service.audits.request("prod"))
    await service.aclose()


async def test_a_period_begins_where_the_last_one_ended(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    first = await audit(world)
    world.clock.now += timedelta(days=3)
    second = await audit(world)
    assert Period.from_json(first["period"]).end == Period.from_json(second["period"]).begin
    assert Period.from_json(first["period"]).end - Period.from_json(first["period"]).begin == timedelta(days=30)


async def test_incidents_and_the_words_of_people_are_told(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    world.deployer.serve(world.drifted)
    service = world.service()
    await service.prepare()
    for _ in range(60):
        await service.tick("prod")
        opened = service.store.incidents(open_only=True)
        if opened:
            await service.reconcile(opened[0].id)
        if any(i.closed for i in service.store.incidents()):
            break
    written = await service.audits.run(service.audits.request("prod"))
    happened = service.audits.archive.read(written.folder.name)["happened"]
    (incident,) = happened["incidents"]
    assert (incident["state"], incident["release"]) == ("RECOVERED", world.drifted.id)
    assert next(d["state"] for d in happened["decisions"]) == "DETECTED"
    assert {r["id"] for r in happened["releases"]} >= {world.good.id, world.drifted.id, incident["candidate"]}
    await service.aclose()


async def test_the_audit_log_tells_who_did_what_and_the_manifest_holds_its_head(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock()))
    service.store.resume("prod", by="bob", at=world.clock())
    service.store.pause(Pause(target="elsewhere", until=None, by="eve", at=world.clock()))
    written = await service.audits.run(service.audits.request("prod", by="carl"))
    happened = service.audits.archive.read(written.folder.name)["happened"]
    assert [(e["actor"], e["action"]) for e in happened["people"]] == [("ann", "paused"), ("bob", "resumed")]
    assert happened["log"]["intact"]
    last = service.store.audit_log()[-1]
    assert (last.actor, last.action, last.subject) == ("carl", "audited", "prod")
    assert json.loads((written.folder / "manifest.json").read_text())["log_head"] == last.hash
    assert json.loads(last.details)["audit_sha256"] == sha256((written.folder / "audit.json").read_bytes()).hexdigest()
    await service.aclose()


@pytest.mark.parametrize(("suites", "message"), [
    (("nonsense",), "no built-in suite 'nonsense'"), (("harm", "harm"), "twice"),
])  # fmt: skip
async def test_a_suite_that_can_not_be_used_is_refused(tmp_path: Path, suites: tuple[str, ...], message: str) -> None:
    service = World(folder=tmp_path).service()
    with pytest.raises(ConfigError, match=message):
        await service.audits.run(service.audits.request("prod", suites=suites))
    await service.aclose()


async def test_a_built_in_suite_may_take_the_place_of_the_targets_own(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    written = await service.audits.run(service.audits.request("prod", suites=("harm", "ordinary")))
    sections = service.audits.archive.read(written.folder.name)["sections"]
    assert [s["suite"] for s in sections] == ["harm", "ordinary"]
    await service.aclose()


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are: prod"):
        World(folder=tmp_path).service().audits.request("nobody")
