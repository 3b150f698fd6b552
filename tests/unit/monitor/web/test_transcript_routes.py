"""The paths that show transcripts: pages, refusals, and that each call is put down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from monitor.recorder import Recorder
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep
from probes.transcripts.store import TranscriptStore
from tests.fake_site import World
from tests.web_site import Api, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/api/v1/targets/prod/transcripts"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    folder = tmp_path_factory.mktemp("kept")
    store = TranscriptStore(folder / "transcripts", keep=Keep.HASHES, ring=Keyring([b"a key"]), days=30)
    async with opened(World(folder=folder, recorder=Recorder(store=store))) as found:
        yield found


async def ask(api: Api, path: str = PATH, **query: Any) -> httpx.Response:  # noqa: ANN401
    return await api.client("reader").get(path, params=query)


async def test_pages_follow_each_other_to_the_end(api: Api) -> None:
    whole, place = [], ""
    while True:
        said = (await ask(api, limit=7, before=place)).json()
        whole += [t["probe"] for t in said["transcripts"]]
        if (place := said["before"]) is None:
            break
    assert whole == [t["probe"] for t in (await ask(api, limit=100)).json()["transcripts"]]
    assert len(set(whole)) == len(whole) > 14


async def test_an_incidents_probes_are_asked_for_by_its_id(api: Api) -> None:
    said = (await ask(api, f"/api/v1/incidents/{api.incident.id}/transcripts", verdict="harmful")).json()
    assert (said["target"], said["incident"], said["keep"]) == ("prod", api.incident.id, "hashes")
    assert {t["verdict"] for t in said["transcripts"]} == {"harmful"}
    assert {t["texts"] for t in said["transcripts"]} == {"hashed"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"before": "yesterday"}, "query.before"),
        ({"limit": 101}, "query.limit"),
        ({"verdict": "bad"}, "query.verdict"),
        ({"kind": "other"}, "query.kind"),
        ({"since": "2026-11-25"}, "query.since"),
        ({"text": "1"}, "query.text"),
    ],
)
async def test_what_can_not_be_taken_is_named(api: Api, query: dict[str, str], field: str) -> None:
    refused = await ask(api, **query)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field


async def test_unknown_things_and_callers_are_refused(api: Api) -> None:
    assert (await ask(api, "/api/v1/targets/none/transcripts")).status_code == 404
    assert (await ask(api, "/api/v1/incidents/none/transcripts")).status_code == 404
    assert (await api.client().get(PATH)).status_code == 401
    for method in ("POST", "PUT", "DELETE"):
        assert (await api.client("all").request(method, PATH)).status_code == 405


async def test_each_look_is_put_down_in_the_callers_name(api: Api) -> None:
    api.records.clear()
    await ask(api, verdict="harmful")
    await ask(api, "/api/v1/targets/prod")
    (put_down,) = api.records
    assert (put_down.caller, put_down.method, put_down.path, put_down.status) == ("reader", "GET", PATH, 200)
    assert put_down.action == "api_call"


async def test_a_folder_that_can_not_be_read_is_named(api: Api, tmp_path: Path) -> None:
    store = api.service.sites["prod"].measure.recorder.store
    assert store
    folder, store.folder = store.folder, tmp_path
    (tmp_path / "2026-01-01.jsonl").mkdir()
    refused = await ask(api)
    store.folder = folder
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:alignd:problem:transcripts")
    assert "ask as the user that the daemon runs as" in refused.json()["detail"]
