"""The HTTP API and the metrics, over the world in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from monitor.api import make_api
from monitor.audits.plan import AuditPlan
from monitor.audits.running import AuditRules
from monitor.errors import StoreError
from monitor.holding import held
from monitor.incident import IncidentId, open_incident
from monitor.metrics import METRICS
from monitor.rails import Hold
from monitor.service import Service
from monitor.stores.sql import SqlStore
from monitor.testing import FakeNotifier
from monitor.upkeep import Retention
from tests.e2e.test_daemon_checks import TOP, check, drifting, with_judge, with_wire
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.e2e.test_daemon_notifies import channel
from tests.fake_site import RATES, World

Samples = dict[str, list[tuple[dict[str, str], float]]]
MONTHLY = AuditRules(plans=(AuditPlan(name="monthly", cron="0 6 1 * *"),))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    amend = with_wire([TOP])
    world = World(
        folder=tmp_path, rates=replace(RATES, baseline_probes=80),
        amend=lambda site, store: with_judge(drifting())(amend(site, store), store),
        retention=Retention(sweep_hours=24.0), channels=(channel(FakeNotifier()),), audits=MONTHLY,
    )  # fmt: skip
    service = world.service()
    service.planned.newest["prod"] = service.clock()
    await check(world, service, 2)
    await carry_on(world, service, await breach(world, service))
    while not ((current := service.watched("prod")) and current[0].baseline and current[1].position):
        await service.tick("prod")
    for _ in range(125):
        await service.look("prod")
    await service.upkeep.sweep()
    service.timing.of("tick").began(service.clock(), 0.0)
    yield service
    await service.aclose()


def http(service: Service, *, healthy: bool = True) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=make_api(service, healthy=lambda: healthy))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def hold(service: Service) -> None:
    """Leave an incident that a rail holds."""
    now = service.clock()
    opened = open_incident(
        incident=IncidentId("held"), target="prod", release="r", recipes=("a",), now=now, note="n"
    )
    service.store.create(held(opened, (Hold(name="window", why="no maintenance window is open"),), now))


async def samples(service: Service) -> Samples:
    return read(text_string_to_metric_families((await http(service).get("/metrics")).text))


def read(families: Iterable[Metric]) -> Samples:
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_every_metric_is_documented_and_exported(service: Service) -> None:
    hold(service)
    found = await samples(service)
    assert found.keys() == METRICS.keys()
    for name, (_, labels) in METRICS.items():
        assert all(set(had) == set(labels) for had, _ in found[name]), name


async def test_openmetrics_is_given_where_it_is_asked_for(service: Service) -> None:
    hold(service)
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = await http(service).get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert read(openmetrics.text_string_to_metric_families(answer.text)).keys() == METRICS.keys()
    plain = await http(service).get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_metrics_say_what_happened(service: Service) -> None:
    found = await samples(service)
    states = {had["state"]: value for had, value in found["alignd_incident_state"]}
    assert states.pop("RECOVERED") == 1
    assert not any(states.values())
    assert {had["traffic"] for had, _ in found["alignd_deployment_info"]} == {"yes", "no"}
    assert found["alignd_target_up"] == [({"target": "prod"}, 1.0)]
    assert found["alignd_asr_ratio"][0][1] == 0.0
    bounds = {had["bound"]: v for had, v in found["alignd_release_asr_ratio"] if had["release"].startswith("drifted")}
    assert bounds.keys() == {"value", "lower", "upper"}
    assert bounds["value"] == 1.0


async def test_a_counter_never_falls(tmp_path: Path) -> None:
    channels = (channel(FakeNotifier()),)
    world = World(folder=tmp_path, retention=Retention(sweep_hours=24.0), channels=channels, audits=MONTHLY)
    service = world.service()
    incident = await breach(world, service)
    service.timing.of("tick").began(service.clock(), 0.0)
    before = await samples(service)
    assert (await carry_on(world, service, incident)).closed
    after = await samples(service)
    for name in (n for n in METRICS if n.endswith("_total")):
        now = {tuple(had.items()): value for had, value in after[name]}
        assert all(now[tuple(had.items())] >= value for had, value in before[name]), name
    await service.aclose()


async def test_before_the_first_sweep_nothing_is_claimed(tmp_path: Path) -> None:
    service = World(folder=tmp_path).service()
    found = await samples(service)
    assert "alignd_asr_ratio" not in found
    assert found["alignd_target_up"] == [({"target": "prod"}, 0.0)]
    verdict = (await http(service).get("/api/v1/verdict", params={"target": "prod"})).json()
    assert verdict["verdict"] == "inconclusive"
    await service.aclose()


async def test_health(service: Service) -> None:
    assert (await http(service).get("/healthz")).status_code == 200
    assert (await http(service, healthy=False).get("/healthz")).status_code == 503


async def test_who_opens_the_page_finds_the_api_made(tmp_path: Path) -> None:
    service = World(folder=tmp_path).service()
    async with http(service) as client:
        await client.get("/health")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await client.get("/")
        (making,) = asyncio.all_tasks() - {asyncio.current_task()}
        assert isinstance(await making, FastAPI)
        await client.get("/")
        assert (await client.get("/api/v1/whoami")).status_code == 200
        assert asyncio.all_tasks() == {asyncio.current_task()}
    await service.aclose()


async def test_status_and_incident(service: Service) -> None:
    said = (await http(service).get("/api/v1/status")).json()
    incident = said["incidents"][0]
    assert incident["state"] == "RECOVERED"
    assert incident["closed"]
    assert set(incident["seconds"]) >= {"DETECTED", "OPEN", "PATCHING", "VERIFYING", "CONFIRMING"}
    assert {p["purpose"] for p in said["targets"][0]["series"]} == {"routine", "recovery"}
    alone = (await http(service).get(f"/api/v1/incidents/{incident['id']}")).json()
    assert {k: alone[k] for k in ("state", "headline", "seconds")} == {
        k: incident[k] for k in ("state", "headline", "seconds")
    }
    assert (await http(service).get("/api/v1/incidents/nope")).status_code == 404


async def test_verdict_of_an_unknown_target_lists_those_there_are(service: Service) -> None:
    answer = await http(service).get("/api/v1/verdict", params={"target": "x"})
    assert answer.status_code == 404
    assert "prod" in answer.json()["detail"]


async def test_a_breach_is_unsafe(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await breach(world, service)
    verdict = (await http(service).get("/api/v1/verdict", params={"target": "prod"})).json()
    assert (verdict["verdict"], verdict["release"]) == ("unsafe", world.drifted.id)
    await service.aclose()


async def test_nothing_that_is_exported_holds_a_prompt(service: Service) -> None:
    prompts = {b.prompt for b in service.sites["prod"].measure.harm.behaviors}
    for path in ("/metrics", "/api/v1/status"):
        text = (await http(service).get(path)).text
        assert not any(p in text for p in prompts)
        assert "Sure" not in text


async def test_a_database_that_does_not_answer_is_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = World(folder=tmp_path).service()
    assert (await samples(service))["alignd_database_up"] == [({}, 1.0)]

    def locked() -> None:
        raise StoreError("it is locked")

    monkeypatch.setattr(service.store, "pauses", locked)
    found = await samples(service)
    assert found["alignd_database_up"] == [({}, 0.0)]
    assert found.keys() == {"alignd_database_up", "alignd_build_info"}
    await service.aclose()


async def test_a_database_that_can_only_be_read_is_not_up(tmp_path: Path) -> None:
    service = World(folder=tmp_path).service()
    await service.prepare()
    await service.tick("prod")
    assert isinstance(service.store, SqlStore)
    service.store._db.writable = False
    found = await samples(service)
    assert found["alignd_database_up"] == [({}, 0.0)]
    assert "alignd_target_up" in found, "what is known is told all the same"
    await service.aclose()


async def test_attempts_that_failed_are_told(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    assert (await samples(service))["alignd_incident_attempts"] == [({"target": "prod"}, 0.0)]
    world.deployer.down = True
    await service.reconcile(incident.id)
    assert (await samples(service))["alignd_incident_attempts"] == [({"target": "prod"}, 1.0)]
    await service.aclose()
