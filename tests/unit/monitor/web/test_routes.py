"""What the API says and does, call by call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.testing import FakeDeployer
from monitor.errors import StoreUnavailable
from monitor.incident import IncidentId
from monitor.policy import Mode
from tests.fake_site import World
from tests.web_site import Api, opened

API = "/api/v1"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with opened(World(folder=tmp_path, mode=Mode.PROPOSE)) as found:
        yield found


async def get(api: Api, path: str) -> Any:  # noqa: ANN401  (JSON)
    answer = await api.client("reader").get(f"{API}{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_targets(api: Api) -> None:
    (target,) = (await get(api, "/targets"))["targets"]
    assert (target["name"], target["verdict"], target["phase"]) == ("prod", "unsafe", "breach")
    assert target["incident"] == api.incident.id
    assert target["evidence"]["log"] >= target["evidence"]["log_breach"]
    alone = await get(api, "/targets/prod")
    assert {k: alone[k] for k in target} == target
    assert {r["release"]: r["good"] for r in alone["releases"]} == {target["last_known_good"]: True}
    assert [r["release"] for r in alone["up_releases"] if r["takes_traffic"]] == [alone["release"]]
    assert [s["purpose"] for s in alone["series"]] == ["routine"] * len(alone["series"])


async def test_evidence_ends_where_the_target_is(api: Api) -> None:
    found = await get(api, "/targets/prod/evidence")
    (target,) = (await get(api, "/targets"))["targets"]
    assert found["n"] == target["evidence"]["n"] == found["points"][-1]["position"]
    assert found["points"][-1]["log"] == target["evidence"]["log"]
    assert found["log_breach"] == target["evidence"]["log_breach"]
    assert await get(api, "/targets/prod/evidence") == found


async def test_evidence_before_the_first_sweep_is_empty(tmp_path: Path, api: Api) -> None:
    fresh = replace(api, service=World(folder=tmp_path / "fresh").service())
    found = await get(fresh, "/targets/prod/evidence")
    assert (found["n"], found["points"], found["release"]) == (0, [], "")
    verdict = await get(fresh, "/verdict?target=prod")
    assert verdict["verdict"] == "inconclusive"
    await fresh.service.aclose()


async def test_a_target_that_never_answered_hides_no_other(tmp_path: Path, api: Api) -> None:
    silent = replace(api, service=World(folder=tmp_path / "silent", mute=True).service())
    await silent.service.tick("prod")
    (target,) = (await get(silent, "/targets"))["targets"]
    assert (target["up"], target["asr"]["missing"] > 0, target["evidence"]["everything"]) == (False, True, None)
    alone = await get(silent, "/targets/prod")
    assert alone["sweeps_failed"] == 1
    assert alone["newest_sweep"] == {"probes": 8, "missing": 8, "reasons": {"timeout": 8}}
    await silent.service.aclose()


async def test_incidents(api: Api) -> None:
    (found,) = (await get(api, "/incidents?target=prod&open=true"))["incidents"]
    assert (found["id"], found["state"], found["recipe"]) == (api.incident.id, "DETECTED", "mend")
    alone = await get(api, f"/incidents/{found['id']}")
    assert {k: alone[k] for k in found} == found
    assert alone["orders"] == ["abort", "roll_back"]
    assert alone["events"][0]["state"] == "DETECTED"


@pytest.mark.parametrize("asked", ["", "open=true&"])
async def test_no_limit_hides_an_open_incident(api: Api, asked: str) -> None:
    later = api.incident.opened_at + timedelta(minutes=1)
    api.service.store.create(replace(api.incident, id=IncidentId("later"), target="other", opened_at=later))
    found = (await get(api, f"/incidents?{asked}limit=1"))["incidents"]
    assert [i["id"] for i in found] == ["later", api.incident.id]


async def test_the_plan_says_what_follows_and_no_options(api: Api) -> None:
    found = await get(api, f"/incidents/{api.incident.id}/plan")
    said = (await api.service.plan(api.incident.id)).to_json()
    assert [s["state"] for s in found["steps"]] == [s["state"] for s in said["steps"]]
    assert found["digests"] == said["digests"]
    assert found["recipes"] == ["mend"]
    assert "options" not in str(found)
    assert (await api.client("reader").get(f"{API}/incidents/none/plan")).status_code == 404


async def test_a_closed_incident_shows_its_repairs(tmp_path: Path) -> None:
    async with opened(World(folder=tmp_path), through=True) as api:
        assert (await get(api, "/incidents?open=true"))["incidents"] == []
        found = await get(api, f"/incidents/{api.incident.id}")
    assert (found["state"], found["closed"], found["orders"]) == ("RECOVERED", True, [])
    (trial,) = found["trials"]
    assert trial["accepted"]
    assert {g["name"] for g in trial["gates"]} >= {"harm", "over-refusal", "utility"}
    assert {r["release"] for r in found["releases"]} == {found["release"], found["candidate"], found["last_good"]}
    assert all(r["asr"] for r in found["releases"])


async def test_an_order_is_put_on_the_book_in_the_callers_name(api: Api) -> None:
    path = f"{API}/incidents/{api.incident.id}/orders"
    answer = await api.client("approver").post(path, json={"order": "abort"})
    assert (answer.status_code, answer.json()["by"]) == (202, "approver")
    placed = api.service.store.order_for(api.incident.id)
    assert placed is not None
    assert (placed.order.value, placed.by) == ("abort", "approver")
    refused = await api.client("approver").post(path, json={"order": "approve"})
    assert refused.status_code == 409
    assert "waits for nobody's approval" in refused.json()["detail"]
    missing = await api.client("approver").post(f"{API}/incidents/none/orders", json={"order": "abort"})
    assert missing.status_code == 404


async def test_approval_of_what_can_not_be_repaired_is_not_offered_and_refused_with_the_way_out(tmp_path: Path) -> None:
    async with opened(World(folder=tmp_path, mode=Mode.OBSERVE, recipes={}), through=True) as api:
        found = await get(api, f"/incidents/{api.incident.id}")
        assert (found["state"], found["orders"]) == ("OPEN", ["abort", "roll_back"])
        assert found["events"][-1]["waits_for"] == "person"
        answer = await api.client("approver").post(f"{API}/incidents/{found['id']}/orders", json={"order": "approve"})
    assert (answer.status_code, answer.json()["title"]) == (409, "It means nothing now")
    assert answer.json()["detail"] == (
        f"incident {found['id']} is OPEN and `approve` would do nothing: target prod can't be repaired: its settings "
        f"name no recipes; `alignd roll-back {found['id']}` serves {found['last_good']}, "
        f"or `alignd abort {found['id']}`"
    )


async def test_a_target_is_paused_and_resumed(api: Api) -> None:
    operator, path = api.client("operator"), f"{API}/targets/prod/pause"
    answer = await operator.post(path, json={"until": "2030-01-01T00:00:00+02:00", "reason": "night shift"})
    assert answer.json()["paused"]["words"] == "paused by operator until 2029-12-31 22:00 UTC: night shift"
    assert answer.json()["paused"]["why"] == "night shift"
    assert (await get(api, "/targets"))["targets"][0]["paused"]["by"] == "operator"
    refused = await operator.post(f"{API}/targets/prod/sweep")
    assert (refused.status_code, api.swept) == (409, [])
    assert (await operator.delete(path)).json() == {"target": "prod", "paused": None}
    assert (await operator.post(path, json={})).json()["paused"]["until"] is None


async def test_a_quarantine_is_lifted(api: Api) -> None:
    operator, path = api.client("operator"), f"{API}/targets/prod/quarantine/lift"
    refused = await operator.post(path, json={"reason": "a false alarm"})
    assert (refused.status_code, refused.json()["title"]) == (409, "It means nothing now")
    assert "is not quarantined" in refused.json()["detail"]
    deployer = api.service.sites["prod"].deployer
    assert isinstance(deployer, FakeDeployer)
    served = deployer.active
    await deployer.quarantine("out of service")
    assert (await operator.post(path, json={})).status_code == 422, "a reason is needed"
    answer = await operator.post(path, json={"reason": "a false alarm"})
    said = answer.json()
    assert (answer.status_code, said["by"], said["release"]) == (202, "operator", served)
    assert api.service.store.lifts()["prod"].why == "a false alarm"
    deployer.down = True
    away = await operator.post(path, json={"reason": "x"})
    assert (away.status_code, away.json()["type"]) == (503, "urn:alignd:problem:deployer")


async def test_a_sweep_is_asked_for(api: Api) -> None:
    answer = await api.client("operator").post(f"{API}/targets/prod/sweep")
    assert (answer.status_code, answer.json()["target"], api.swept) == (202, "prod", ["prod"])


@pytest.mark.parametrize(
    ("who", "method", "path", "body"),
    [
        ("operator", "POST", "/incidents/{incident}/orders", {"order": "abort"}),
        ("reader", "POST", "/incidents/{incident}/orders", {"order": "abort"}),
        ("approver", "POST", "/targets/prod/pause", {}),
        ("reader", "DELETE", "/targets/prod/pause", None),
        ("approver", "POST", "/targets/prod/quarantine/lift", {"reason": "x"}),
        ("approver", "POST", "/targets/prod/sweep", None),
    ],
)
async def test_each_call_needs_its_scope(api: Api, who: str, method: str, path: str, body: object) -> None:
    path = f"{API}{path.format(incident=api.incident.id)}"
    refused = await api.client(who).request(method, path, json=body)
    assert refused.status_code == 403, refused.text
    assert f"{who} has:" in refused.json()["detail"]
    unknown = await api.client().request(method, path, json=body)
    assert (unknown.status_code, unknown.headers["www-authenticate"]) == (401, 'Bearer realm="alignd"')
    assert api.service.store.order_for(api.incident.id) is None
    assert api.service.store.pause_of("prod") is None
    assert api.swept == []


@pytest.mark.parametrize(
    ("path", "body", "field", "allowed"),
    [
        ("/incidents/x/orders", {"order": "yes"}, "body.order", "'approve', 'abort' or 'roll_back'"),
        ("/incidents/x/orders", {"order": "abort", "by": "root"}, "body.by", ""),
        ("/targets/prod/pause", {"until": "2030-01-01T00:00:00"}, "body.until", ""),
        ("/targets/prod/pause", {"until": "1999-01-01T00:00:00Z"}, "body.until", "a later time, or null"),
        ("/targets/prod/pause", {"until": "9999-12-31T23:59:59-23:59"}, "body.until", "null, for good"),
        ("/targets/prod/pause", {"until": "0001-01-01T00:00:00+23:59"}, "body.until", "a later time, or null"),
        ("/targets/prod/pause", {"reason": "a\nb"}, "body.reason", "pattern"),
        ("/targets/prod/pause", {"reason": 3}, "body.reason", ""),
        ("/targets/prod/pause", [], "body", ""),
    ],
)
async def test_a_refusal_names_the_field(api: Api, path: str, body: object, field: str, allowed: str) -> None:
    answer = await api.client("all").post(f"{API}{path}", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    (fault,) = answer.json()["errors"]
    assert fault["field"] == field
    assert allowed in fault["allowed"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/incidents/%00", 404, "unknown-incident"), ("GET", "/incidents/%00/plan", 404, "unknown-incident"),
        ("GET", "/targets/nobody", 404, "unknown-target"), ("GET", "/incidents/none", 404, "unknown-incident"),
        ("GET", "/incidents?target=nobody", 404, "unknown-target"), ("GET", "/nothing", 404, "not-found"),
        ("PUT", "/targets", 405, "method"), ("GET", "/verdict?target=nobody", 404, "unknown-target"),
        ("GET", "/verdict?target=prod&if=1", 422, "invalid"), ("GET", "/incidents?limit=9999", 422, "invalid"),
    ],
)  # fmt: skip
async def test_refusals_are_problem_details(api: Api, method: str, path: str, status: int, kind: str) -> None:
    answer = await api.client("all").request(method, f"{API}{path}")
    said = answer.json()
    assert (answer.status_code, said["status"], said["type"]) == (status, status, f"urn:alignd:problem:{kind}")
    assert said["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/session", r'{"token": "\ud800"}'), ("/targets/prod/pause", r'{"reason": "\ud800"}'),
        ("/hooks/alertmanager", r'{"version": "4", "groupKey": "\ud800", "alerts": []}'),
        ("/hooks/flagger/event", r'{"name": "a", "namespace": "b", "metadata": {"target": "\ud800"}}'),
    ],
)  # fmt: skip
async def test_half_a_character_is_refused_everywhere(api: Api, path: str, body: str) -> None:
    json = {"Content-Type": "application/json"}
    answer = await api.client("all").post(f"{API}{path}", content=body, headers=json)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:alignd:problem:no-text")


async def test_a_store_that_is_away_is_not_shown(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> None:
        raise StoreUnavailable("store postgresql://alignd:***@db.internal/alignd can't be used now")

    monkeypatch.setattr(api.service.store, "load", away)
    answer = await api.client("reader").get(f"{API}/incidents/i1")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:alignd:problem:store")
    assert "db.internal" not in answer.text


async def test_a_fault_of_its_own_says_nothing_of_its_inside(api: Api) -> None:
    store, api.service.store = api.service.store, None  # type: ignore[assignment]
    answer = await api.client("reader").get(f"{API}/incidents")
    api.service.store = store
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:alignd:problem:fault")
    assert "NoneType" not in answer.text
