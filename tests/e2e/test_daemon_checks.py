"""A judge that drifts freezes repairs; a tripwire hastens probing and does nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.api import make_api
from monitor.incident import State
from monitor.judge_check import JudgeCheck, accept_judge
from monitor.metrics import METRICS
from monitor.policy import Mode
from monitor.service import Service
from monitor.site import Site
from monitor.status import status_json
from monitor.store import Store
from monitor.tripwire_check import TripwireCheck, tripwire_prompts
from probes.attacks.direct import DirectAttack
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.probe import Probe
from probes.testing import FakeTarget
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import RATES, World
from tests.unit.monitor.test_judge_check import Drifting, labelled
from tests.unit.monitor.test_tripwire_check import TOP, Telling

MOVED = (("Sure", -3.0), (" No", -0.2))


def drifting() -> Drifting:
    """A judge that reads what the world answers, and errs where it is told to."""
    judge = Drifting()
    judge.inner = RefusalPhraseJudge()  # type: ignore[assignment]
    return judge


def with_judge(judge: Drifting) -> Callable[[Site, Store], Site]:
    """Judge by this one, and check it daily."""

    def amend(site: Site, store: Store) -> Site:
        check = JudgeCheck(
            target="prod", judge=judge, labelled=labelled(harmful=60, safe=300), book=store, site_key="secret",
            replies=60, gamma=1e4,
        )  # fmt: skip
        return replace(site, measure=replace(site.measure, judge=judge), judge_check=check)

    return amend


def with_wire(tops: list[tuple[tuple[str, float], ...]]) -> Callable[[Site, Store], Site]:
    """Look at the last of these first tokens."""

    def amend(site: Site, store: Store) -> Site:
        asked = Telling(tops=lambda _: tops[-1], inner=FakeTarget(release=""))
        wire = TripwireCheck(
            target=asked, prompts=tripwire_prompts(site.measure.benign, n=3, key="secret"), attack=DirectAttack(),
            book=store, site_key="secret", reference=120, gamma=1e3,
        )  # fmt: skip
        return replace(site, tripwire=wire)

    return amend


async def check(world: World, service: Service, days: int) -> None:
    for _ in range(days):
        world.clock.now += timedelta(days=1)
        await service.checks.check_judge("prod")


async def drift_of(judge: Drifting, world: World, service: Service) -> None:
    """The judge begins to call a quarter of the safe replies harmful, until a check finds it out."""

    def wrong(probe: Probe) -> bool:
        return "s" in probe.behavior.prompt and hash_of(probe.id) % 4 == 0

    judge.wrong = wrong
    for _ in range(60):
        await check(world, service, 1)
        if service.checks.frozen("prod"):
            return
    raise AssertionError("never found out")


def hash_of(text: str) -> int:
    return sum(ord(c) * (i + 1) for i, c in enumerate(text))


async def test_a_judge_that_drifts_opens_nothing_and_needs_a_person(tmp_path: Path) -> None:
    judge = drifting()
    world = World(folder=tmp_path, amend=with_judge(judge))
    service = world.service()
    await service.prepare()
    await check(world, service, 5)
    assert service.checks.frozen("prod") == ""
    await drift_of(judge, world, service)
    world.deployer.serve(world.drifted)
    for _ in range(10):
        await service.tick("prod")
    assert service.store.incidents() == ()
    (target,) = status_json(service)["targets"]
    assert target["action_needed"]
    assert (target["verdict"], target["phase"]) == ("inconclusive", "breach")
    assert "judge" in target["frozen"]
    judge.wrong = lambda _: False
    accept_judge(service.store, "prod", gamma=1e4, by="ann", at=world.clock())
    world.clock.now += timedelta(minutes=1)
    assert service.checks.frozen("prod") == "", "another process's word is read"
    await check(world, service, 1)
    await service.tick("prod")
    (incident,) = service.store.incidents(open_only=True)
    assert incident.facts["evidence"]["n"] == 8, "what the drifted judge said is no evidence"
    await service.aclose()


async def test_an_open_incident_waits_while_its_judge_is_frozen(tmp_path: Path) -> None:
    judge = drifting()
    world = World(folder=tmp_path, amend=with_judge(judge))
    service = world.service()
    incident = await breach(world, service)
    await check(world, service, 2)
    await drift_of(judge, world, service)
    for _ in range(3):
        waiting = await service.reconcile(incident.id)
    assert waiting.state is State.DETECTED
    assert waiting.events[-1].note.startswith("action needed: ")
    assert world.promoted == []
    judge.wrong = lambda _: False
    accept_judge(service.store, "prod", gamma=1e4, by="ann", at=world.clock())
    world.clock.now += timedelta(minutes=1)
    done = await carry_on(world, service, incident)
    assert done.state is State.RECOVERED, done.events
    await service.aclose()


async def test_a_judge_that_does_not_answer_freezes_nothing(tmp_path: Path) -> None:
    judge = drifting()
    world = World(folder=tmp_path, amend=with_judge(judge))
    service = world.service()
    await check(world, service, 1)
    judge.mute = lambda _: True
    await check(world, service, 1)
    assert service.checks.frozen("prod") == ""
    (target,) = status_json(service)["targets"]
    assert "scored none" in target["check_failed"]
    await service.aclose()


async def test_a_judge_is_checked_before_its_word_opens_an_incident(tmp_path: Path) -> None:
    """It calls everything harmful from now on; its next daily check would come hours after the incident."""
    judge = drifting()
    world = World(folder=tmp_path, amend=with_judge(judge))
    service = world.service()
    await service.prepare()
    await check(world, service, 2)
    world.clock.now += timedelta(hours=1)
    judge.wrong = lambda probe: "s" in probe.behavior.prompt or probe.suite == "harm"
    for _ in range(6):
        await service.tick("prod")
    held = service.watched("prod")
    assert held
    assert held[1].phase.value == "breach"
    assert service.checks.frozen("prod")
    assert service.store.incidents() == ()
    await service.aclose()


async def test_what_an_incident_is_open_for_is_probed_no_faster(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.OBSERVE)
    service = world.service()
    await breach(world, service)
    assert await service.tick("prod") == 0.0
    await service.aclose()


async def test_a_check_waits_for_its_hour(tmp_path: Path) -> None:
    judge = drifting()
    world = World(folder=tmp_path, amend=with_judge(judge))
    service = world.service()
    await service.checks.check_judge("prod")
    asked = judge.asked.total()
    await service.checks.check_judge("prod")
    assert judge.asked.total() == asked
    await check(world, service, 1)
    assert judge.asked.total() == asked + 60
    await service.aclose()


async def test_a_tripped_wire_hastens_probing_and_is_no_evidence(tmp_path: Path) -> None:
    tops = [TOP]
    world = World(folder=tmp_path, amend=with_wire(tops))
    service = world.service()
    await service.prepare()
    before = await service.tick("prod")
    assert before < 0.2
    for i in range(130):
        tops.append((("Sure", -0.1 - i % 3 / 100), (" No", -2.5)))
        await service.look("prod")
    assert await service.tick("prod") < 0.2
    tops.append(MOVED)
    for _ in range(60):
        await service.look("prod")
    assert await service.tick("prod") == 1.0
    held = service.watched("prod")
    assert held
    assert held[1].phase.value == "idle"
    assert service.store.incidents() == ()
    await service.aclose()
    again = world.service()
    await again.look("prod")
    assert again.checks.tripped("prod"), "the book says so after a restart, too"
    await again.aclose()


@pytest.mark.parametrize("amend", [with_judge(drifting()), with_wire([TOP])])
async def test_metrics_say_how_judge_and_wire_stand(
    tmp_path: Path, amend: Callable[[Site, Store], Site]
) -> None:
    world = World(folder=tmp_path, amend=amend, rates=RATES)
    service = world.service()
    await service.prepare()
    await service.tick("prod")
    await check(world, service, 2)
    for _ in range(125):
        await service.look("prod")
    transport = httpx.ASGITransport(app=make_api(service, healthy=lambda: True))
    async with httpx.AsyncClient(transport=transport, base_url="http://alignd") as http:
        page = (await http.get("/metrics")).text
    found = {s.name for f in text_string_to_metric_families(page) for s in f.samples}
    kind = "judge" if service.sites["prod"].judge_check else "tripwire"
    names = {name for name in METRICS if name.startswith(f"alignd_{kind}_")}
    assert names <= found | {"alignd_tripwire_log_evidence", "alignd_judge_log_evidence"}
    await service.aclose()
