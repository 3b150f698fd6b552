"""Web hooks: deliveries of Alertmanager and Grafana, and Flagger's."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.hook_settings import AlertAction, AlertmanagerSettings, AlertRule, HooksSettings
from monitor.incident import State
from monitor.store import Pause
from tests.e2e.test_daemon_fake import carry_on
from tests.fake_site import World
from tests.web_site import Api, opened

HOOK, SECRET = "/api/v1/hooks/alertmanager", "a-secret-of-a-site"
RULES = (
    AlertRule(match={"alertname": "Complaints"}, action=AlertAction.REMEDIATE),
    AlertRule(match={"alertname": "Leak"}, target="prod", action=AlertAction.CONTAIN),
    AlertRule(match={"team": "ml"}, action=AlertAction.SWEEP),
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(folder=tmp_path)


@pytest.fixture
async def api(world: World) -> AsyncIterator[Api]:
    """After an incident that was recovered from."""
    async with opened(world, through=True) as found:
        await found.service.tick("prod")
        yield replace(found, hooks=HooksSettings(alertmanager=AlertmanagerSettings(rules=RULES)))


def delivery(
    name: str = "Complaints", *, status: str = "firing", at: str = "2025-12-31T23:00:00Z", **more: Any  # noqa: ANN401
) -> dict[str, Any]:  # fmt: skip
    """Return a delivery as Alertmanager 0.27 makes it."""
    alert = {
        "status": status, "labels": {"alertname": name, "target": "prod", "team": "ml"}, "annotations": {"x": "y"},
        "startsAt": at, "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p/g", "fingerprint": "f00d",
    }  # fmt: skip
    return {
        "version": "4", "groupKey": f'{{}}:{{alertname="{name}"}}', "truncatedAlerts": 0, "status": status,
        "receiver": "alignd", "groupLabels": {"alertname": name}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://am", "alerts": [alert], **more,
    }  # fmt: skip


async def send(api: Api, body: object, who: str = "operator") -> dict[str, Any]:
    answer = await api.client(who).post(HOOK, json=body)
    assert answer.status_code == 200, answer.text
    (said,) = answer.json()["alerts"]
    return dict(said)


async def test_an_alert_opens_an_incident_that_is_confirmed_as_any_other(api: Api, world: World) -> None:
    said = await send(api, delivery())
    assert said["outcome"] == "acted"
    incident = api.service.store.load(said["incident"])
    assert (incident.state, incident.recipes) == (State.DETECTED, ("mend",))
    assert incident.events[0].note == "operator asked for it"
    done = await carry_on(world, api.service, incident)
    assert done.state is State.DISMISSED, "the release is fine: sealed prompts decide"


async def test_contain_leaves_the_repair_to_a_person(api: Api, world: World) -> None:
    world.clock.now += timedelta(days=40)  # after every cooldown of the first one
    world.deployer.serve(world.drifted)
    await api.service.tick("prod")
    for known in api.service.store.incidents(open_only=True):
        api.service.store.save(replace(known, state=State.DISMISSED))
    said = await send(api, delivery("Leak"))
    assert said["outcome"] == "acted", said
    done = await carry_on(world, api.service, api.service.store.load(said["incident"]))
    assert done.state is State.ESCALATED
    assert "as was asked" in done.events[-1].note
    assert world.active != world.drifted.id
    assert done.trials == ()


async def test_the_same_alert_does_nothing_twice(api: Api, world: World) -> None:
    first = await send(api, delivery())
    again = [(await send(api, delivery()))["outcome"] for _ in range(3)]
    assert again == ["duplicate"] * 3
    anew = replace(api)
    assert (await send(anew, delivery()))["outcome"] == "duplicate", "after a restart"
    await carry_on(world, api.service, api.service.store.load(first["incident"]))
    assert (await send(api, delivery()))["outcome"] == "duplicate"
    assert (await send(api, delivery(at="2025-12-31T22:00:00Z")))["outcome"] == "older"
    assert len(api.service.store.incidents()) == 2


async def test_an_alert_that_was_resolved_before_it_came_does_nothing(api: Api) -> None:
    assert (await send(api, delivery(status="resolved")))["outcome"] == "resolved"
    assert (await send(api, delivery()))["outcome"] == "resolved"
    assert not api.service.store.incidents(open_only=True)


async def test_a_sweep_is_asked_for_once(api: Api) -> None:
    assert (await send(api, delivery("Anything")))["outcome"] == "acted"
    assert (await send(api, delivery("Anything")))["outcome"] == "duplicate"
    assert (await send(api, delivery("Anything", at="2025-12-31T23:30:00Z")))["outcome"] == "acted"
    assert api.swept == ["prod", "prod"]


async def test_policy_rules(api: Api) -> None:
    assert (await send(api, delivery()))["outcome"] == "acted"
    second = await send(api, delivery("Leak"))
    assert (second["outcome"], second["why"]) == ("refused", "target prod has an open incident")
    now = api.service.clock()
    api.service.store.pause(Pause(target="prod", until=now + timedelta(days=1), by="me", at=now))
    assert (await send(api, delivery("Anything")))["why"] == "target prod is paused"
    assert api.swept == []


async def test_what_was_refused_is_acted_on_when_it_comes_again(api: Api) -> None:
    store, now = api.service.store, api.service.clock()
    store.pause(Pause(target="prod", until=None, by="me", at=now))
    assert [(await send(api, delivery()))["why"] for _ in range(2)] == ["target prod is paused"] * 2
    store.resume("prod", by="me", at=now)
    assert (await send(api, delivery()))["outcome"] == "acted"
    assert (await send(api, delivery()))["outcome"] == "duplicate"
    assert len(store.audit_log(action="alert_refused")) == 2
    assert len(store.audit_log(action="alert_taken")) == 1


async def test_an_alert_outlives_an_open_incident(api: Api, world: World) -> None:
    opened = await send(api, delivery())
    assert (await send(api, delivery("Leak")))["why"] == "target prod has an open incident"
    await carry_on(world, api.service, api.service.store.load(opened["incident"]))
    assert (await send(api, delivery("Leak")))["outcome"] == "acted"


async def test_an_alert_outlives_a_start(api: Api, tmp_path: Path) -> None:
    fresh = World(folder=tmp_path / "fresh")
    held = replace(api, service=fresh.service())
    assert "was not probed yet" in (await send(held, delivery()))["why"]
    await held.service.tick("prod")
    assert (await send(held, delivery()))["outcome"] == "acted"
    await held.service.aclose()


async def test_an_alert_is_matched_by_a_rule_that_came_later(api: Api) -> None:
    before = replace(api, hooks=HooksSettings())
    assert (await send(before, delivery()))["outcome"] == "unmatched"
    assert (await send(api, delivery()))["outcome"] == "acted"


@pytest.mark.parametrize("status", ["firing", "resolved"])
async def test_a_time_to_come_makes_no_alert_older(api: Api, status: str) -> None:
    said = await send(api, delivery(status=status, at="2999-01-01T00:00:00Z"))
    assert (said["outcome"], said["incident"]) == ("refused", None)
    assert "2999-01-01T00:00:00+00:00 is in the future: it is 2026-01-01" in said["why"]
    assert (await send(api, delivery()))["outcome"] == "acted"


async def test_an_alert_of_nobodys_is_unmatched(api: Api) -> None:
    other = delivery("Else")
    other["alerts"][0]["labels"] = {"alertname": "Else"}
    assert (await send(api, other))["outcome"] == "unmatched"
    other = delivery("Anything", groupKey="other")
    other["alerts"][0]["labels"]["target"] = "nobody"
    assert "there are: prod" in (await send(api, other))["why"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (delivery(version="3"), "body.version"), (delivery(alerts=None), "body.alerts"),
        (delivery(groupKey=""), "body.groupKey"), (delivery(at="yesterday"), "body.alerts.0.startsAt"),
        (delivery(status="pending"), "body.alerts.0.status"), ([], "body"),
    ],
)  # fmt: skip
async def test_what_is_not_a_delivery_is_refused(api: Api, body: object, field: str) -> None:
    answer = await api.client("operator").post(HOOK, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_half_a_delivery_does_nothing(api: Api) -> None:
    half = json.dumps(delivery())[:-30]
    answer = await api.client("operator").post(HOOK, content=half, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert not api.service.store.incidents(open_only=True)


async def signed(api: Api, body: bytes, *, at: str = "", secret: str = SECRET) -> httpx.Response:
    at = at or str(int(api.service.clock().timestamp()))
    made = hmac.new(secret.encode(), f"{at}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json", "X-Grafana-Alerting-Signature": made, "X-Grafana-Alerting-Timestamp": at,
    }  # fmt: skip
    return await api.client().post(HOOK, content=body, headers=headers)


async def test_grafana_signs(api: Api) -> None:
    held = replace(api, amend=lambda access: replace(access, hook_secret=SECRET.encode()))
    body = json.dumps(delivery(version="1", orgId=1, title="t", state="alerting", message="m")).encode()
    assert (await signed(held, body, secret="another-secret-of-16")).status_code == 401
    assert (await signed(held, body, at="1700000000")).status_code == 401
    assert (await signed(api, body)).status_code == 401, "no secret is set"
    assert not api.service.store.incidents(open_only=True)
    answer = await signed(held, body)
    assert (answer.status_code, answer.json()["alerts"][0]["outcome"]) == (200, "acted")
    assert (await signed(held, body)).json()["alerts"][0]["outcome"] == "duplicate", "played again"


async def test_forged_deliveries_keep_no_real_one_out(api: Api) -> None:
    bounds: dict[str, Any] = {"failures_per_minute": 2, "requests_per_minute": 4}
    strict = replace(api, amend=lambda access: replace(access, hook_secret=SECRET.encode(), **bounds))
    body = json.dumps(delivery()).encode()
    forged = [(await signed(strict, body, secret="another-secret-of-16")).status_code for _ in range(4)]
    assert forged == [401, 401, 429, 429]
    assert (await strict.client().get("/nothing")).status_code == 429
    assert (await signed(strict, body)).json()["alerts"][0]["outcome"] == "acted"
    assert [(await signed(strict, body)).status_code for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("path", ["/api/v1/targets/prod/pause", "/api/v1/session", "/api/v1/hooks/flagger/event"])
async def test_a_signature_opens_nothing_else(api: Api, path: str) -> None:
    held = replace(api, amend=lambda access: replace(access, hook_secret=SECRET.encode()))
    headers = {"X-Grafana-Alerting-Signature": "0" * 64, "X-Grafana-Alerting-Timestamp": "1"}
    assert (await held.client(**headers).post(path, json={})).status_code in {401, 422}


def flagger(target: str = "prod") -> dict[str, Any]:
    metadata = {"target": target}
    return {"name": "chat", "namespace": "ml", "phase": "Progressing", "checksum": "85d5", "metadata": metadata}


@pytest.mark.parametrize("gate", ["confirm-rollout", "confirm-traffic-increase", "confirm-promotion"])
async def test_flagger_goes_on_where_the_target_is_safe(api: Api, gate: str) -> None:
    reader, path = api.client("reader"), f"/api/v1/hooks/flagger/{gate}"
    assert (await reader.post(path, json=flagger())).status_code == 200
    assert (await reader.post("/api/v1/hooks/flagger/rollback", json=flagger())).status_code == 403
    assert (await reader.post(path, json=flagger("nobody"))).status_code == 404


async def test_flagger_rolls_back_where_it_is_unsafe(tmp_path: Path) -> None:
    async with opened(World(folder=tmp_path)) as api:
        reader = api.client("reader")
        assert (await reader.post("/api/v1/hooks/flagger/rollback", json=flagger())).status_code == 200
        held = await reader.post("/api/v1/hooks/flagger/confirm-promotion", json=flagger())
    assert (held.status_code, held.json()["type"]) == (403, "urn:alignd:problem:not-safe")


async def test_without_data_flagger_neither_goes_on_nor_back(api: Api, tmp_path: Path) -> None:
    fresh = replace(api, service=World(folder=tmp_path / "fresh").service())
    for gate in ("confirm-promotion", "rollback"):
        answer = await fresh.client("reader").post(f"/api/v1/hooks/flagger/{gate}", json=flagger())
        assert (answer.status_code, "inconclusive" in answer.text) == (403, True)
    await fresh.service.aclose()


async def test_flaggers_events_have_the_target_probed(api: Api) -> None:
    path = "/api/v1/hooks/flagger/event"
    assert (await api.client("reader").post(path, json=flagger())).status_code == 403
    assert (await api.client("operator").post(path, json=flagger())).status_code == 200
    assert api.swept == ["prod"]
