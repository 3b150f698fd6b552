"""People are told: of every step worth it, of what lasts, and after a kill at the worst moment."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx

from deploy.vllm.child import free_port
from monitor.api import make_api
from monitor.channel import Channel
from monitor.notifier import Kind, Notification, Severity
from monitor.policy import Mode, Order
from monitor.served_check import Served
from monitor.service import Service
from monitor.store import Pause
from monitor.telemetry import incident_trace_id
from monitor.testing import FakeNotifier
from probes.suites import builtin
from tests.collector import collecting
from tests.e2e.test_daemon_checks import check, drift_of, drifting, with_judge
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import World
from tests.receiver import HANGS, Receiver, receiving

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
key: long-enough-secret
targets:
- name: prod
  endpoint: http://127.0.0.1:{port}/v1
  model: m
  deployer: {{plugin: external, options: {{release: served, endpoint: "http://127.0.0.1:{port}/v1"}}}}
  schedule: {{interval_seconds: 0.5, batch: 8, burst_interval_seconds: 0.5, burst_batch: 16}}
listen: {{port: {api}, public_url: "https://alignd.test"}}
notifications:
- name: hook
  plugin: webhook
  options: {{url: "{hook}", secrets: [0123456789abcdef], timeout_seconds: 60}}
tracing: {{endpoint: "{collector}", headers: {{x-key: {{env: TRACE_KEY}}}}}}
"""


def channel(notifier: FakeNotifier) -> Channel:
    return Channel(
        name="team", plugin="fake", notifier=notifier, events=frozenset(Kind), targets=frozenset(),
        severity=Severity.INFO, digest_above=50, max_age_hours=24.0,
    )  # fmt: skip


async def sent(service: Service) -> None:
    for _ in range(3):
        await service.outbox.round()
        await service.outbox.drain()


def kinds(told: Sequence[Notification]) -> list[tuple[Kind, bool]]:
    return [(n.kind, n.resolved) for n in told]


async def test_an_incident_is_told_from_its_breach_to_its_end_and_nothing_asked_is_in_it(tmp_path: Path) -> None:
    team = FakeNotifier()
    world = World(folder=tmp_path, mode=Mode.PROPOSE, channels=(channel(team),))
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    service.order(waiting.id, Order.APPROVE, by="ops")
    done = await carry_on(world, service, waiting)
    await sent(service)
    assert kinds(team.got) == [
        (Kind.INCIDENT_OPENED, False), (Kind.CONTAINED, False), (Kind.APPROVAL_WAITING, False), (Kind.RECOVERED, True),
    ]  # fmt: skip
    assert {n.incident for n in team.got} == {done.id}
    said = json.dumps([n.to_json() for n in team.got])
    assert not any(b.prompt in said for b in service.sites["prod"].measure.harm.behaviors)
    await service.aclose()


async def test_every_reconcile_of_a_wait_tells_once(tmp_path: Path) -> None:
    team = FakeNotifier()
    world = World(folder=tmp_path, mode=Mode.OBSERVE, channels=(channel(team),))
    service = world.service()
    incident = await breach(world, service)
    for _ in range(3):
        await carry_on(world, service, incident)
        await sent(service)
    assert kinds(team.got) == [(Kind.INCIDENT_OPENED, False), (Kind.ACTION_NEEDED, False)]
    await service.aclose()


async def test_a_target_out_of_reach_is_told_after_a_while_once_and_when_it_is_back(tmp_path: Path) -> None:
    team = FakeNotifier()
    world = World(folder=tmp_path, channels=(channel(team),))
    service = world.service()
    await service.prepare()
    await service.lookout.round()
    world.mute = True
    for minutes in (0, 14, 2, 60):
        world.clock.now += timedelta(minutes=minutes)
        await service.tick("prod")
        await service.lookout.round()
        await sent(service)
        assert len(team.got) == (minutes in {2, 60}), "a restart of a server is no news"
    await service.aclose()
    service = world.service()
    await service.lookout.round()
    service.store.pause(Pause(target="prod", until=None, by="ops", at=world.clock()))
    await service.tick("prod")
    await service.lookout.round()
    await sent(service)
    assert len(team.got) == 1, "neither a restart nor a pause says anything of it"
    service.store.resume("prod", by="ops", at=world.clock())
    world.mute = False
    await service.tick("prod")
    await service.lookout.round()
    await sent(service)
    assert kinds(team.got) == [(Kind.TARGET_UNREACHABLE, False), (Kind.TARGET_UNREACHABLE, True)]
    await service.aclose()


async def test_a_target_that_is_quarantined_is_not_out_of_reach(tmp_path: Path) -> None:
    team = FakeNotifier()
    world = World(folder=tmp_path, channels=(channel(team),))
    service = world.service()
    await service.prepare()
    world.mute = True
    told = []
    for minutes, quarantined in ((0, False), (14, True), (30, True), (2, False), (14, False), (2, False)):
        await (world.deployer.quarantine("out of service") if quarantined else world.deployer.lift())
        world.clock.now += timedelta(minutes=minutes)
        await service.tick("prod")
        await service.lookout.round()
        assert not service.views["prod"].up
        told.append(bool(service.store.conditions()))
    assert told == [False] * 5 + [True], "it counts from the lift on"
    await sent(service)
    assert kinds(team.got) == [(Kind.TARGET_UNREACHABLE, False)]
    await service.aclose()


async def test_a_clock_that_is_set_back_keeps_no_target_out_of_reach_from_being_told(tmp_path: Path) -> None:
    team = FakeNotifier()
    world = World(folder=tmp_path, channels=(channel(team),))
    service = world.service()
    await service.prepare()
    world.mute = True
    for passed in (timedelta(), -timedelta(hours=3), timedelta(minutes=16)):
        world.clock.now += passed
        await service.tick("prod")
        await service.lookout.round()
        await sent(service)
    assert kinds(team.got) == [(Kind.TARGET_UNREACHABLE, False)]
    await service.aclose()


async def test_what_lasted_ends_with_a_target_that_is_no_longer_watched(tmp_path: Path) -> None:
    team = FakeNotifier()
    world = World(folder=tmp_path, channels=(channel(team),))
    service = world.service()
    fine = Served(release="r", replica="h:1", kind="merged", takes_traffic=True, at=world.clock())
    service.mending.served["prod"] = [replace(fine, mismatch="other weights")]
    for _ in range(2):
        await service.lookout.round()
        world.clock.now += timedelta(minutes=6)
    for site in service.adopt({}).values():
        await site.aclose()
    for _ in range(2):
        await service.lookout.round()
        await sent(service)
    assert [(n.kind, n.resolved, n.text) for n in team.got] == [
        (Kind.DEPLOYMENT_MISMATCH, False, "h:1: other weights"),
        (Kind.DEPLOYMENT_MISMATCH, True, "it is no longer watched"),
    ]  # fmt: skip
    assert not service.store.conditions()
    await service.aclose()


async def test_servers_that_hold_other_weights_are_told_apart(tmp_path: Path) -> None:
    team = FakeNotifier()
    world = World(folder=tmp_path, channels=(channel(team),))
    service = world.service()
    fine = Served(release="r", replica="h:1", kind="merged", takes_traffic=True, at=world.clock())
    wrong = [replace(fine, replica=r, mismatch="log-probabilities differ") for r in ("h:1", "h:2")]
    for served in ((*wrong,), (*wrong,), (fine, wrong[1]), (fine,)):
        service.mending.served["prod"] = served
        world.clock.now += timedelta(minutes=6)
        await service.lookout.round()
    await sent(service)
    assert [(n.text.split(": ")[0], n.resolved) for n in team.got] == [
        ("h:1", False), ("h:2", False), ("h:1", True), ("h:2", True)
    ]  # fmt: skip
    await service.aclose()


async def test_a_frozen_judge_is_told_at_once(tmp_path: Path) -> None:
    team, judge = FakeNotifier(), drifting()
    world = World(folder=tmp_path, amend=with_judge(judge), channels=(channel(team),))
    service = world.service()
    await service.prepare()
    await check(world, service, 5)
    await service.lookout.round()
    await drift_of(judge, world, service)
    await service.lookout.round()
    await service.aclose()
    service = world.service()
    await service.lookout.round()
    await sent(service)
    assert kinds(team.got) == [(Kind.JUDGE_FROZEN, False)], "and a restart does not repeat it"
    await service.aclose()


async def test_how_channels_stand_is_seen_in_status_and_metrics(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.OBSERVE, channels=(channel(FakeNotifier(hangs=True)),))
    service = world.service()
    await breach(world, service)
    await service.outbox.round()
    app = make_api(service, healthy=lambda: True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        text = (await client.get("/metrics")).text
        status = (await client.get("/api/v1/status")).json()
    found = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if line[:1] != "#"}
    assert found['alignd_notifications_pending{channel="team"}'] == 1
    assert found['alignd_notifications_total{channel="team",outcome="dead"}'] == 0
    (standing,) = status["notifications"]
    assert (standing["channel"], standing["pending"], standing["dead"]) == ("team", 1, 0)
    await service.aclose()


def daemon(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", "--config", str(folder / "alignd.yaml")],
            cwd=ROOT, stderr=out, stdout=out, env={**os.environ, "PYTHONPATH": str(ROOT), "TRACE_KEY": "a secret key"},
        )  # fmt: skip


async def until(hook: Receiver, count: int) -> None:
    end = time.monotonic() + 60
    while len(hook.got) < count:
        assert time.monotonic() < end, f"{len(hook.got)} of {count} arrived"
        hook.arrived.clear()
        await asyncio.wait_for(hook.arrived.wait(), end - time.monotonic())


async def test_what_a_killed_daemon_was_sending_is_sent_again_and_traces_hold_no_text(tmp_path: Path) -> None:
    with collecting() as collector:
        port, api = free_port(), free_port()
        server = subprocess.Popen([sys.executable, "-m", "tests.fake_server", str(port), "m", "x"], cwd=ROOT)
        try:
            async with receiving(HANGS) as hook:
                text = CONFIG.format(port=port, api=api, hook=hook.url, collector=collector.url)
                (tmp_path / "alignd.yaml").write_text(text)
                first = daemon(tmp_path)
                await until(hook, 1)
                first.kill()
                first.wait(20)
                second = daemon(tmp_path)
                await until(hook, 3)
                second.terminate()
                assert second.wait(20) == 0
        finally:
            server.terminate()
            server.wait(10)
    said = [json.loads(r.body) for r in hook.got]
    assert said[0] == said[1], "the same notification, and under the same id"
    assert [s["kind"] for s in said[1:3]] == ["incident_opened", "action_needed"]
    assert said[0]["url"] == f"https://alignd.test/incidents/{said[0]['incident']}"
    log = (tmp_path / "log").read_text()
    assert '"action": "notified"' in log
    assert "0123456789abcdef" not in log
    assert "a secret key" not in log
    assert {h["x-key"] for h in collector.headers} == {"a secret key"}
    steps = [s for _, s in collector.spans if s.name.startswith("alignd.step")]
    assert {s.trace_id for s in steps} <= {incident_trace_id(said[0]["incident"]).to_bytes(16)}, "a kill may lose some"
    assert collector.named("alignd.sweep")
    spans = str([s for _, s in collector.spans])
    assert not any(b.prompt in spans for b in builtin("harm_probe").behaviors)
    assert not any(b.prompt in json.dumps(said) for b in builtin("harm_probe").behaviors)
