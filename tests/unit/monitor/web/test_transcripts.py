"""Which transcripts are shown, and what of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from monitor.recorder import Recorder
from monitor.web.problems import Problem
from monitor.web.transcripts import Shown, TranscriptViews
from probes.behavior import SuiteKind
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep
from probes.transcripts.redacted import Texts
from probes.transcripts.store import TranscriptReader, TranscriptStore
from tests.fake_site import World
from tests.web_site import Api, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYTHING = Shown(limit=5000)


def recorder(folder: Path, *, keep: Keep = Keep.ENCRYPTED, key: bytes = b"a key for the tests") -> Recorder:
    return Recorder(store=TranscriptStore(folder / "transcripts", keep=keep, ring=Keyring([key]), days=30))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """A target whose drift was found, contained, repaired and verified; no test changes it."""
    folder = tmp_path_factory.mktemp("kept")
    async with opened(World(folder=folder, recorder=recorder(folder)), through=True) as found:
        yield found


@pytest.fixture
def views(api: Api) -> TranscriptViews:
    return TranscriptViews(api.service)


async def test_every_probe_is_there_and_says_no_text(api: Api, views: TranscriptViews) -> None:
    page = await views.of_target("prod", EVERYTHING)
    kept = list(TranscriptReader(_kept_in(api).folder).transcripts())
    assert [t.probe for t in page.transcripts] == [t.probe for t in kept]
    assert (page.keep, page.days, page.failed, page.damaged, page.before) == (Keep.ENCRYPTED, 30, 0, 0, None)
    said, measure = page.model_dump_json(), api.service.sites["prod"].measure
    suites = (measure.harm, *measure.benign)
    hidden = [text for s in suites for b in s.behaviors for text in (f'"{b.id}"', f'"{b.prompt}"')]
    assert not any(text in said for text in (*hidden, "Sure, here", "I can't help", "Certainly"))


async def test_a_probe_says_what_it_was_and_how_it_was_judged(api: Api, views: TranscriptViews) -> None:
    page = await views.of_target("prod", Shown(limit=5000, purpose="profile", verdict="harmful"))
    candidate = api.service.store.load(api.incident.id).candidate
    by_kind = {t.kind: t for t in page.transcripts if t.release == candidate}
    assert set(by_kind) == {SuiteKind.BENIGN}, "a repaired release refuses what is harmful, and answers the rest"
    one = by_kind[SuiteKind.BENIGN]
    assert one.category in {"c0", "c1", "c2"}
    assert (one.attack, one.score, one.texts, one.purpose) == ("direct", 5.0, Texts.SEALED, "profile")
    assert one.answer
    assert (one.answer.characters, one.answer.finish_reason) == (len("Certainly: here you go."), "stop")
    assert [m.role for m in one.prompt] == ["user"]


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (Shown(purpose="confirm"), lambda t: t.sweep.startswith("confirm-")),
        (Shown(verdict="safe", kind=SuiteKind.HARM), lambda t: (t.verdict, t.kind) == ("safe", SuiteKind.HARM)),
        (Shown(kind=SuiteKind.TASK), lambda t: t.kind is SuiteKind.TASK),
        (Shown(stratum="c1/direct"), lambda t: (t.category, t.attack) == ("c1", "direct")),
    ],
)
async def test_it_is_narrowed_down(views: TranscriptViews, asked: Shown, fits: Any) -> None:  # noqa: ANN401
    found = await views.of_target("prod", Shown(**{**_fields(asked), "limit": 5000}))
    assert found.transcripts
    everything = (await views.of_target("prod", EVERYTHING)).transcripts
    assert found.transcripts == tuple(t for t in everything if fits(t))


def _fields(shown: Shown) -> dict[str, Any]:
    return {name: getattr(shown, name) for name in Shown.__slots__}


def _kept_in(api: Api) -> TranscriptStore:
    store = api.service.sites["prod"].measure.recorder.store
    assert store
    return store


async def test_a_sweep_is_shown_alone(views: TranscriptViews) -> None:
    one = (await views.of_target("prod", EVERYTHING)).transcripts[-1]
    alone = (await views.of_target("prod", Shown(sweep=one.sweep))).transcripts
    assert {t.sweep for t in alone} == {one.sweep}
    assert one in alone


async def test_an_incident_has_the_probes_from_its_epoch_to_its_end(api: Api, views: TranscriptViews) -> None:
    incident = api.service.store.load(api.incident.id)
    page = await views.of_incident(incident.id, EVERYTHING)
    assert page.since
    assert page.since < incident.opened_at
    assert page.until == incident.events[-1].at
    purposes = {t.purpose for t in page.transcripts}
    assert {"routine", "confirm", "profile", "recovery"} <= purposes
    assert {incident.release, incident.candidate} <= {t.release for t in page.transcripts}
    assert all(page.since <= t.at <= page.until for t in page.transcripts)
    later = Shown(since=incident.opened_at + timedelta(seconds=1))
    assert "routine" not in {t.purpose for t in (await views.of_incident(incident.id, later)).transcripts}


async def test_where_nothing_is_kept_it_says_so(tmp_path: Path) -> None:
    async with opened(World(folder=tmp_path, recorder=recorder(tmp_path, keep=Keep.NOTHING))) as api:
        views, measured = TranscriptViews(api.service), api.service.sites["prod"].measure
        pages = [await views.of_incident(api.incident.id, EVERYTHING)]
        measured.recorder.store = None
        pages.append(await views.of_target("prod", EVERYTHING))
    for page in pages:
        assert (page.keep, page.transcripts, page.before, page.oldest) == (Keep.NOTHING, (), None, None)


async def test_another_key_shows_all_but_lengths(tmp_path: Path) -> None:
    async with opened(World(folder=tmp_path, recorder=recorder(tmp_path))) as api:
        earlier, _kept_in(api).ring = _kept_in(api).ring, Keyring([b"another key"])
        page = await TranscriptViews(api.service).of_incident(api.incident.id, EVERYTHING)
    assert {t.texts for t in page.transcripts} == {Texts.KEY_MISSING}
    assert {t.key for t in page.transcripts} == {earlier.id}
    assert {t.answer.characters for t in page.transcripts if t.answer} == {None}


async def test_an_incident_of_a_target_that_is_gone_can_still_be_looked_into(tmp_path: Path) -> None:
    async with opened(World(folder=tmp_path, recorder=recorder(tmp_path))) as api:
        views, sites = TranscriptViews(api.service), api.service.sites
        api.service.sites = {"other": replace(sites["prod"], name="other")}
        page = await views.of_incident(api.incident.id, EVERYTHING)
        with pytest.raises(Problem, match="no target 'prod'"):
            await views.of_target("prod", EVERYTHING)
        api.service.sites = sites
    assert page.target == "prod"
    assert page.transcripts
    assert {(t.kind, t.category) for t in page.transcripts} == {(None, "")}


async def test_a_release_that_a_server_names_at_length_is_cut(tmp_path: Path) -> None:
    async with opened(World(folder=tmp_path, recorder=recorder(tmp_path))) as api:
        path = next((tmp_path / "transcripts").iterdir())
        named, long = (f'"release":"{name}"'.encode() for name in (api.incident.release, "x" * 999))
        path.write_bytes(path.read_bytes().replace(named, long))
        page = await TranscriptViews(api.service).of_target("prod", Shown(purpose="routine"))
    assert max(len(t.release) for t in page.transcripts) == 200
    assert Texts.ALTERED in {t.texts for t in page.transcripts}
