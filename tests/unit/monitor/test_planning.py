"""What would be done about an incident, and that saying so does nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, time
from pathlib import Path

import pytest

from monitor.commands.plan import told
from monitor.errors import ConfigError, UnknownIncident
from monitor.incident import IncidentId, State, open_incident
from monitor.policy import Containment, Mode, Order
from monitor.rails import Rails
from monitor.windows import Window
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import GOOD, Ways, World

WAY = [
    "DETECTED", "OPEN", "PATCHING", "STAGING", "VERIFYING", "AWAITING_APPROVAL", "PROMOTING", "CONFIRMING",
]  # fmt: skip


async def test_the_plan_names_every_state_digest_recipe_gate_and_rail(tmp_path: Path) -> None:
    sunday = Window(days=frozenset({6}), start=time(2), end=time(5), zone=UTC)
    world = World(
        folder=tmp_path, mode=Mode.PROPOSE, recipes={"weak": Ways(asr=0.9), "mend": GOOD},
        amend=lambda site, _: replace(site, rails=Rails(windows=(sunday,)), deployed_by="vllm-process"),
    )  # fmt: skip
    service = world.service()
    incident = await breach(world, service)
    found = await service.plan(incident.id)
    said = found.to_json()
    assert json.loads(json.dumps(said)) == said
    assert [s["state"] for s in said["steps"]] == WAY
    assert said["digests"] == {r.id: r.manifest.digest for r in (world.drifted, world.good)}
    assert [r["plugin"] for r in said["recipes"]] == ["weak", "mend"]
    assert said["gates"]["asr_upper_max"] == 0.4
    rails = {s["state"]: [(r["name"], r["until"]) for r in s["rails"]] for s in said["steps"] if s["rails"]}
    opens = "2026-01-04T02:00:00+00:00"
    assert rails == {"PATCHING": [("window", opens)], "PROMOTING": [("window", opens)]}
    assert [s["state"] for s in said["steps"] if s["person"]] == ["AWAITING_APPROVAL"]
    lines = "\n".join(told(found))
    assert f"roll_back: promote {world.good.id} ({world.good.manifest.digest})" in lines
    assert "rail window stands: no maintenance window is open, until 2026-01-04 02:00 UTC" in lines
    assert f"waits for `alignd approve {incident.id}`" in lines
    assert "recipe 2: mend {}" in lines
    await service.aclose()


async def test_planning_changes_nothing(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    service = world.service()
    incident = await breach(world, service)
    calls: list[str] = []
    world.hook = calls.append
    before = (tmp_path / "s.db").read_bytes(), list(world.deployer.effects), sorted(tmp_path.rglob("*"))
    await service.plan(incident.id)
    assert (calls, service.store.load(incident.id)) == ([], incident)
    assert ((tmp_path / "s.db").read_bytes(), world.deployer.effects, sorted(tmp_path.rglob("*"))) == before
    await service.aclose()


@pytest.mark.parametrize(
    ("containment", "words"),
    [(Containment.HOLD, "stays in service"), (Containment.ROLL_BACK, "roll_back: promote good@")],
)
async def test_containment_is_told(tmp_path: Path, containment: Containment, words: str) -> None:
    world = World(folder=tmp_path, containment=containment, mode=Mode.OBSERVE)
    service = world.service()
    found = await service.plan((await breach(world, service)).id)
    step = next(s for s in found.steps if s.state is State.OPEN)
    assert words in step.does
    assert step.person, "mode observe"
    await service.aclose()


async def test_the_plan_begins_where_the_incident_is(tmp_path: Path) -> None:
    world = World(folder=tmp_path, mode=Mode.PROPOSE, recipes={"weak": Ways(asr=0.9), "mend": GOOD})
    service = world.service()
    waiting = await carry_on(world, service, await breach(world, service))
    assert waiting.state is State.AWAITING_APPROVAL
    found = await service.plan(waiting.id)
    assert [s.state for s in found.steps] == [State.AWAITING_APPROVAL, State.PROMOTING, State.CONFIRMING]
    assert [r[0] for r in found.recipes] == ["mend"], "the rung that it is on"
    assert found.digests[waiting.candidate]
    service.order(waiting.id, Order.ROLL_BACK, by="ann")
    back = await service.reconcile(waiting.id)
    (step,) = (await service.plan(back.id)).steps
    assert (step.state, step.does) == (State.ROLLING_BACK, f"promote {world.good.id}")
    done = await carry_on(world, service, back)
    assert "  it has ended; nothing would be done" in told(await service.plan(done.id))
    await service.aclose()


async def test_an_incident_that_nobody_knows_or_watches_has_no_plan(tmp_path: Path) -> None:
    service = World(folder=tmp_path).service()
    with pytest.raises(UnknownIncident):
        await service.plan("none")
    service.store.create(
        open_incident(incident=IncidentId("x"), target="gone", release="r", recipes=(), now=service.clock(), note="n")
    )
    with pytest.raises(ConfigError, match="'gone' is not in the settings"):
        await service.plan("x")
    await service.aclose()
