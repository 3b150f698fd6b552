"""Traces of sweeps and incidents, as a real collector gets them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.incident import Incident
from monitor.service import Service
from monitor.telemetry import Destination, OpenTelemetrySpans, incident_span_id, incident_trace_id
from tests.collector import Collector, attributes_of, collecting
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import World

ROOT = Path(__file__).resolve().parents[2]


def spans_to(url: str, **changes: object) -> OpenTelemetrySpans:
    to = Destination(endpoint=url, headers={"x-key": "k"}, timeout_seconds=1.0, queue=2048, sample_ratio=1.0)
    return OpenTelemetrySpans(replace(to, **changes))  # type: ignore[arg-type]


@contextmanager
def nobody() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield f"http://127.0.0.1:{deaf.getsockname()[1]}/v1/traces"


async def told(collector: Collector, folder: Path) -> tuple[Incident, list[str]]:
    """Run an incident, with a new process after each step; return it and the prompts that were asked."""
    world = World(folder=folder, spans=spans_to(collector.url))
    service = world.service()
    incident = await breach(world, service)
    await service.aclose()
    for _ in range(20):
        world.spans = spans_to(collector.url)
        service = world.service()
        incident = await service.reconcile(incident.id)
        prompts = [b.prompt for b in service.sites["prod"].measure.harm.behaviors]
        await service.aclose()
        if incident.closed:
            return incident, prompts
    raise AssertionError(incident.state)


async def test_an_incident_is_one_trace_across_restarts_and_each_step_is_linked(tmp_path: Path) -> None:
    with collecting() as collector:
        incident, prompts = await told(collector, tmp_path)
    trace = incident_trace_id(incident.id).to_bytes(16)
    mine = [span for _, span in collector.spans if span.trace_id == trace]
    steps = [s for s in mine if s.name.startswith("alignd.step ")]
    states = [e.state.value for e in incident.events]
    assert [s.name.removeprefix("alignd.step ") for s in steps] == states[:-1]
    assert [attributes_of(s)["alignd.next_state"] for s in steps] == states[1:]
    (whole,) = collector.named("alignd.incident")
    assert (whole.trace_id, whole.parent_span_id) == (trace, b"")
    assert {s.parent_span_id for s in steps} == {whole.span_id}
    assert [s.links[0].span_id for s in steps[1:]] == [s.span_id for s in steps[:-1]]
    assert len({s.span_id for s in mine}) == len(mine)
    assert whole.start_time_unix_nano == int(incident.opened_at.timestamp() * 1e9)
    assert attributes_of(whole)["alignd.target"] == "prod"
    said = str([s for _, s in collector.spans])
    assert not any(p in said for p in prompts), "no text"
    assert collector.headers[0]["x-key"] == "k"


async def test_a_sweep_is_a_batch_and_its_judgements(tmp_path: Path) -> None:
    with collecting() as collector:
        world = World(folder=tmp_path, spans=spans_to(collector.url))
        service = world.service()
        await service.prepare()
        await service.tick("prod")
        await service.aclose()
    (sweep,) = collector.named("alignd.sweep")
    batch = next(s for s in collector.named("alignd.probe_batch") if s.parent_span_id == sweep.span_id)
    judged = [s for s in collector.named("alignd.judge") if s.parent_span_id == batch.span_id]
    assert attributes_of(sweep) == {"alignd.target": "prod", "alignd.release": world.good.id, "alignd.phase": "idle"}
    assert attributes_of(batch)["alignd.probes"] == len(judged) == 8
    assert {s.trace_id for s in (sweep, batch, *judged)} == {sweep.trace_id}
    assert {service for service, _ in collector.spans} == {"alignd"}


async def test_waiting_leaves_no_span(tmp_path: Path) -> None:
    with collecting() as collector:
        world = World(folder=tmp_path, spans=spans_to(collector.url))
        service = world.service()
        incident = await carry_on(world, service, await breach(world, service))
        steps = len(incident.events) - 1
        for _ in range(5):
            await service.reconcile(incident.id)
        await service.aclose()
    assert len([s for _, s in collector.spans if s.name.startswith("alignd.step")]) == steps


async def test_a_share_of_sweeps_is_traced_and_every_incident(tmp_path: Path) -> None:
    with collecting() as collector:
        world = World(folder=tmp_path, spans=spans_to(collector.url, sample_ratio=0.0))
        service = world.service()
        done = await carry_on(world, service, await breach(world, service))
        await service.aclose()
    assert done.closed
    assert not collector.named("alignd.sweep")
    assert len(collector.named("alignd.incident")) == 1


async def took(service: Service, ticks: int) -> float:
    began = time.monotonic()
    for _ in range(ticks):
        await service.tick("prod")
    return time.monotonic() - began


async def test_a_collector_that_is_away_or_silent_holds_nothing_up(tmp_path: Path) -> None:
    with nobody() as silent:
        for name, url in (("away", "http://127.0.0.1:9/v1/traces"), ("silent", silent)):
            world = World(folder=tmp_path / name, spans=spans_to(url, queue=64))
            service = world.service()
            await service.prepare()
            assert await took(service, 20) < 15, "far more spans than the queue holds"
            began = time.monotonic()
            world.spans.close()
            assert time.monotonic() - began < 2, f"{name}: one second and no more"
            await asyncio.wait_for(service.aclose(), 20)


def test_a_worker_goes_on_inside_the_step_that_started_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from remediation.patch import PatchRequest; "
        "from remediation.worker_span import worker_span\n"
        "r = PatchRequest(incident='i', recipe='mend', drifted=Path('d'), reference=None, output=Path('o'), seed=1, "
        "options={})\n"
        "with worker_span(r): print('worked')"
    )
    with collecting() as collector:
        spans = spans_to(collector.url)
        with spans.span("step", {}):
            environment = dict(spans.environment())
        for extra in (environment, {}, {**environment, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/"}):
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT), "no_proxy": "*", **extra},
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (0, "worked\n"), done.stderr
        spans.close()
    ((_, step), (service, patch)) = sorted(collector.spans, key=lambda s: s[0])
    assert service == "alignd-worker"
    assert (patch.name, patch.parent_span_id, patch.trace_id) == ("alignd.patch", step.span_id, step.trace_id)
    assert attributes_of(patch) == {"alignd.incident": "i", "alignd.recipe": "mend"}
    assert spans.environment() == {}, "outside of a span there is nothing to go on from"


@pytest.mark.parametrize("step", [0, 1])
def test_ids_are_of_the_incident(step: int) -> None:
    assert incident_trace_id("a") == incident_trace_id("a") != incident_trace_id("b")
    assert incident_span_id("a", step) != incident_span_id("b", step)
    assert incident_span_id("a", step) != incident_span_id("a", step + 1)
