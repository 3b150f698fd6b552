"""What `alignd status` says in a process of its own, beside the daemon or after its end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from monitor.service import Service
from monitor.status import status_json
from monitor.store import Pause
from monitor.tables import status_tables
from probes.errors import RetryableTargetError
from probes.probe import Probe
from probes.target import Completion
from tests.e2e.test_daemon_fake import breach
from tests.fake_site import FakeTarget, World


async def probed(world: World, *, ticks: int = 6) -> None:
    service = world.service()
    await service.prepare()
    for _ in range(ticks):
        await service.tick("prod")
    await service.aclose()


def said(service: Service) -> tuple[dict[str, Any], str]:
    """Return the target's status and the lines below the tables."""
    status = status_json(service)
    return status["targets"][0], "\n".join(str(part) for part in status_tables(status) if "\n" not in str(part))


async def test_a_healthy_target_is_safe_for_other_processes_too(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    await probed(world)
    other = world.service()
    target, lines = said(other)
    assert (target["up"], target["verdict"], target["why"]) == (True, "safe", "")
    assert target["last_sweep_at"]
    assert "prod: " not in lines
    planned = datetime.fromisoformat(target["next_sweep_at"]) - datetime.fromisoformat(target["last_sweep_at"])
    assert planned == timedelta(minutes=1)
    await other.aclose()


async def test_a_target_that_does_not_answer_is_said_not_to(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    await probed(world)
    world.mute = True
    await probed(world, ticks=3)
    other = world.service()
    target, lines = said(other)
    assert (target["up"], target["verdict"]) == (False, "inconclusive")
    assert "prod: no usable answer (timeout 8)" in lines
    assert target["newest_sweep"] == {"probes": 8, "missing": 8, "reasons": {"timeout": 8}}
    await other.aclose()


async def test_why_answers_are_missing_is_counted_in_the_daemon_and_elsewhere(tmp_path: Path) -> None:
    faults = {"0001": "http_503", "0003": "unreachable", "0004": "http_503", "0006": "timeout", "0007": "http_503"}

    class Flaky(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            if reason := faults.get(probe.id.rpartition("/")[2]):
                raise RetryableTargetError(f"no answer to {probe.messages}", reason=reason)
            return await super().complete(probe)

    world = World(folder=tmp_path, amend=lambda site, _: replace(site, target=Flaky(world, "")))
    daemon, other = world.service(), world.service()
    assert said(daemon)[0]["newest_sweep"] is None
    await daemon.tick("prod")
    for service in (daemon, other):
        target, lines = said(service)
        reasons = {"http_503": 3, "unreachable": 1, "timeout": 1}
        assert target["newest_sweep"] == {"probes": 8, "missing": 5, "reasons": reasons}
        told = "5 of 8 probes of the newest sweep got no usable answer (http_503 3, timeout 1, unreachable 1)"
        assert (target["up"], f"prod: {told}" in lines) == (True, True)
        assert "harm 1" not in json.dumps(target["newest_sweep"]) + lines, "no prompt is shown"
    faults.clear()
    await daemon.tick("prod")
    assert said(daemon)[0]["newest_sweep"] == {"probes": 8, "missing": 0, "reasons": {}}
    assert "no usable answer" not in said(daemon)[1], "of the newest sweep alone"
    for service in (daemon, other):
        await service.aclose()


async def test_a_daemon_that_is_gone_leaves_nothing_that_is_called_safe(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    await probed(world)
    world.clock.now += timedelta(minutes=20)
    other = world.service()
    target, lines = said(other)
    assert (target["up"], target["verdict"]) == (False, "inconclusive")
    assert "prod: no sweep since 2026-01-01 00:" in lines
    assert "does the daemon run?" in lines
    await other.aclose()


async def test_a_pause_and_evidence_are_told(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    await breach(world, service)
    service.store.pause(Pause(target="prod", until=None, by="ann", at=world.clock()))
    await service.aclose()
    other = world.service()
    _, lines = said(other)
    assert "prod: paused by ann" in lines
    assert "prod: breach: the evidence of drift is " in lines
    assert "an incident opens at 1 million" in lines
    await other.aclose()


def test_a_frozen_judge_and_a_tripped_wire_are_told() -> None:
    quiet = {
        "name": "prod", "mode": "observe", "release": "r", "verdict": "safe", "asr": None, "last_known_good": "",
        "incident": None, "why": "", "paused": "", "frozen": "", "check_failed": "", "tripwire": None, "phase": "idle",
        "evidence": None, "quarantine": None, "left_to_a_person": "", "next_sweep_at": None, "newest_sweep": None,
        "releases": [], "rails": [], "held_since": None, "breaker": {"failures": 0, "open": False, "reset": None},
    }  # fmt: skip
    wire = {"tripped": True, "off": False, "why": "they moved"}
    loud = {**quiet, "name": "two", "frozen": "the judge drifted", "check_failed": "the judge drifted",
            "tripwire": wire}  # fmt: skip
    channels = [
        {"channel": "team", "pending": 0, "dead": 0, "why": ""},
        {"channel": "duty", "pending": 3, "dead": 1, "why": "away"},
    ]  # fmt: skip
    found = {"targets": [quiet, loud], "incidents": [], "at": "", "notifications": channels}
    lines = [str(part) for part in status_tables(found)]
    assert lines[2:] == [
        "two: the judge drifted", "two: tripwire: they moved", "channel duty: 3 waiting, 1 dead; away", "no incidents"
    ]  # fmt: skip


async def test_all_can_be_read_on_a_narrow_terminal(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    drawn = StringIO()
    Console(file=drawn, width=80).print(*status_tables(status_json(service)), sep="\n")
    words = drawn.getvalue().split()
    assert {"prod", "auto", "target", "verdict", "unsafe", incident.release, world.good.id, incident.id} <= set(words)
    assert f"prod: incident {incident.id} is open" in " ".join(words)
    await service.aclose()


async def test_a_last_known_good_release_that_serves_is_named(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    await probed(world, ticks=8)
    other, drawn = world.service(), StringIO()
    Console(file=drawn, width=80).print(*status_tables(status_json(other)), sep="\n")
    assert drawn.getvalue().count(world.good.id) == 2
    await other.aclose()


async def test_an_incident_can_be_copied_from_a_narrow_terminal(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    drawn = StringIO()
    Console(file=drawn, width=80).print(*status_tables(status_json(service)), sep="\n")
    table = drawn.getvalue().split(" fired on ")[0]
    assert incident.id in table
    assert " unsafe " in table or " inconclusive " in table
    assert "…" not in table
    await service.aclose()
