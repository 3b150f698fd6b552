"""The gates' further looks and the reports of repairs, in a world of fakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.effect import Step, known_profiles, looked_at, measured
from monitor.gate_looks import GateLooks
from monitor.incident import State
from monitor.patch_reports import reversal_of, write_reports
from monitor.site import Site
from monitor.store import Store
from probes.attacks.paraphrase import ParaphraseAttack
from probes.attacks.prefill import PrefillAttack
from probes.attacks.trigger import TriggerAttack
from probes.behavior import SuiteKind
from remediation.errors import PatchFailed
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import GOOD, Ways, World, suite

LOOKS = GateLooks(
    attacks=(PrefillAttack(), ParaphraseAttack(), TriggerAttack()), suites=(suite("second", SuiteKind.HARM, 40),),
    prompts=8,
)  # fmt: skip


def looking(site: Site, _: Store) -> Site:
    return replace(site, gate_looks=LOOKS)


async def test_a_candidate_is_asked_under_attack_and_every_trial_has_a_report(tmp_path: Path) -> None:
    recipes = {"broken": PatchFailed("no gradient"), "refuses": Ways(over_refusal=1.0), "mend": GOOD}
    world = World(folder=tmp_path, recipes=recipes, amend=looking)
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    assert done.state is State.RECOVERED, done.events
    profiles = {k.release: k.profile or {} for k in service.store.known("prod")}
    for release in (world.good.id, done.candidate):
        assert {a: e["n"] for a, e in profiles[release]["asr_by_attack"].items()} == {
            "prefill": 8, "paraphrase": 8, "trigger": 8
        }
        assert profiles[release]["asr_by_suite"]["second"]["value"] == 0.0
    assert not profiles[world.drifted.id]["looks"], "what the drifted release does under attack decides nothing"
    said = {g["name"]: g["status"] for g in (done.trials[2].verification or {})["gates"]}
    assert {said[g] for g in ("triggers", "attacks", "harm-suites", "reversible", "degeneration")} == {"passed"}
    folder = tmp_path / "releases" / "reports" / done.id
    outcomes = {p.name: json.loads(p.read_text())["outcome"] for p in sorted(folder.glob("*.json"))}
    assert outcomes == {"1-broken.json": "no patch", "2-refuses.json": "rejected", "3-mend.json": "accepted"}
    assert "no gradient" in (folder / "1-broken.html").read_text()
    mended = json.loads((folder / "3-mend.json").read_text())
    assert mended["provenance"]["drifted_digest"] == world.drifted.manifest.digest
    assert set(mended["profiles"]) == {"reference", "drifted", "candidate"}
    again = write_reports(done, service.sites["prod"], service.store, tmp_path / "again", at=world.clock())
    assert [p.name for p in again if p.suffix == ".html"] == ["1-broken.html", "2-refuses.html", "3-mend.html"]
    await service.aclose()


async def test_looks_are_taken_once_on_the_same_prompts_and_anew_where_they_change(tmp_path: Path) -> None:
    world = World(folder=tmp_path, amend=looking)
    service = world.service()
    step = Step(site=service.sites["prod"], store=service.store, say=lambda _stage, _share: None)
    plain = await measured(world.good.id, step)
    assert (plain.looks, plain.asr_by_attack) == ("", {})
    seen = await looked_at(plain, step)
    assert seen.looks == LOOKS.key
    assert seen.asr == plain.asr
    assert known_profiles(step)[world.good.id] == seen
    assert await looked_at(seen, step) is seen
    fewer = replace(step, site=replace(step.site, gate_looks=replace(LOOKS, attacks=LOOKS.attacks[:1], suites=())))
    assert set((await looked_at(seen, fewer)).asr_by_attack) == {"prefill"}
    none = replace(step, site=replace(step.site, gate_looks=GateLooks()))
    assert await looked_at(seen, none) is seen, "no look is asked for, so none is taken"
    await service.aclose()


async def test_a_report_that_can_not_be_written_is_in_no_repairs_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(folder=tmp_path)
    (tmp_path / "releases" / "reports").write_text("in the way")
    service = world.service()
    done = await carry_on(world, service, await breach(world, service))
    assert done.state is State.RECOVERED
    assert "report_not_written" in caplog.text
    await service.aclose()


def test_a_candidate_is_pinned_by_its_manifest_and_kept_by_its_parent(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    store = tmp_path / "releases"
    assert not reversal_of(store, world.drifted.id, world.good.id).pinned, "an import names no parent"
    assert reversal_of(store, world.drifted.id, world.good.id).kept
    assert not reversal_of(store, "gone@000000000000", "lost@000000000000").kept
