"""The probes behind a target and an incident in a real browser: what is shown of them, and that it is never a text."""

from __future__ import annotations

import pytest

from monitor.audit import SealedEntry
from probes.transcripts.keyring import Keyring
from tests.chromium_host import Chromium, Tab
from tests.e2e.page.entering import READY, enter
from tests.page_site import CALM, ENDED, PAUSED, WAITS, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = "document.querySelectorAll('main tbody tr').length"
TEXTS = ("Sure, here is how.", "I can't help with that.", "Certainly: here you go.")


async def _badges(tab: Tab) -> set[str]:
    found = await tab.js("[...document.querySelectorAll('main tbody .badge')].map(b => b.textContent)")
    return set(found)


async def test_from_an_incident_to_the_harmful_answers_behind_it(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        incident = site.waiting
        await enter(tab, site, f"/incidents/{incident.id}")
        await tab.click("a[href*='transcripts?verdict=harmful']")
        await tab.until(f"location.pathname == '/incidents/{incident.id}/transcripts' && {READY} && {ROWS}")
        assert await tab.text("h1") == f"Probes behind {incident.id}"
        assert await tab.js("document.activeElement.matches('h1')")
        assert await _badges(tab) == {"harmful"}
        shown = await tab.text()
        assert incident.release in shown
        assert "18 characters" in shown, "the answer's length, opened with the key"
        assert "alignd transcripts show " in shown
        assert not any(text in shown for text in TEXTS)
        assert await tab.js("document.querySelectorAll('.badge.bad').length") == await tab.js(ROWS)
        assert [c for c in tab.complaints if "401 (Unauthorized)" not in c] == []


async def test_from_a_stratum_to_its_probes_and_on_to_older_ones(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site, f"/targets/{ENDED}")
        stratum = await tab.js("document.querySelector('#strata + table tbody th').textContent")
        await tab.click("#strata + table tbody a")
        await tab.until(f"location.pathname == '/targets/{ENDED}/transcripts' && {READY} && {ROWS}")
        assert await tab.text(".choices strong") == stratum
        await tab.go(f"{site.url}/targets/{ENDED}/transcripts", until=f"{READY} && {ROWS} == 50")
        first = await tab.text("tbody th code")
        await tab.click("nav[aria-label=Pages] a")
        await tab.until(f"{READY} && {ROWS} && document.querySelector('tbody th code').textContent != '{first}'")
        assert "Older page." in await tab.text(".lead")
        await tab.js("history.back()")
        await tab.until(f"{READY} && document.querySelector('tbody th code')?.textContent == '{first}'")


async def test_where_there_are_none_it_says_why_and_how_to_have_them(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site, f"/targets/{PAUSED}/transcripts", who="read")
        assert "Transcripts are off" in await tab.text()
        assert "transcripts.keep: hashes" in await tab.text(".callout")
        await tab.go(f"{site.url}/targets/{CALM}/transcripts?verdict=missing", until=READY)
        assert "There is none." in await tab.text()
        await tab.go(f"{site.url}/targets/{CALM}/transcripts", until=READY)
        assert "Texts are not kept, only their hashes." in await tab.text()
        path = f"/targets/{CALM}/transcripts"
        said = await tab.js(f"fetch('/api/v1{path}').then(r => r.json())")
        gone = {**said, "since": "2026-01-01T00:00:00Z", "oldest": "2026-01-09", "failed": 3, "damaged": 2}
        await tab.answer(f"/api/v1{path}", (200, {**gone, "transcripts": [], "before": None}))
        await tab.go(site.url + path, until=READY)
        shown = await tab.text(".callout")
        assert "kept for 30 days: the oldest that there are, are of 2026-01-09" in shown
        assert "3 transcripts could not be written" in shown
        assert "2 damaged lines" in shown


async def test_a_missing_key_and_an_altered_line_stand_out(site: Site, browser: Chromium) -> None:
    store = site.worlds[WAITS].recorder.store
    assert store
    ring, folder = store.ring, store.folder
    async with browser.tab() as tab:
        await enter(tab, site)
        store.ring = Keyring([b"another key"])
        await tab.go(f"{site.url}/targets/{WAITS}/transcripts", until=READY)
        store.ring = ring
        assert f"are sealed with the key {ring.id}, which is not at hand" in await tab.text(".callout")
        assert "key missing" in await _badges(tab)
        files = {path: path.read_bytes() for path in folder.iterdir()}
        for path, content in files.items():
            path.write_bytes(content.replace(b'"score":5.0', b'"score":1.0'))
        await tab.go(f"{site.url}/targets/{WAITS}/transcripts?verdict=harmful", until=READY)
        for path, content in files.items():
            path.write_bytes(content)
        assert "were changed after they were written" in await tab.text(".callout")
        assert "altered" in await _badges(tab)


async def test_it_is_looked_at_once_and_put_down_once(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        path = f"/targets/{CALM}/transcripts"
        await enter(tab, site, path, who="operate")
        before = len(_looks(site))
        assert before > 0
        await tab.js("document.dispatchEvent(new Event('visibilitychange'))")
        await tab.go(site.url + path + "?verdict=safe", until=READY)
        looks = _looks(site)[before:]
        assert [(e.actor, e.action) for e in looks] == [("anna-operate", "api_call")]


def _looks(site: Site) -> tuple[SealedEntry, ...]:
    return site.service.store.audit_log(subject=f"/api/v1/targets/{CALM}/transcripts")


async def test_a_screen_reader_hears_what_it_is(site: Site, browser: Chromium) -> None:
    async with browser.tab(width=320) as tab:
        await enter(tab, site, f"/incidents/{site.waiting.id}/transcripts")
        tree = await tab.tree()
        assert [n["name"] for n in tree if n["role"] == "table"] == ["Probes, newest first"]
        assert {"Verdict", "Suite", "Asked for", "Pages"} <= {n["name"] for n in tree if n["role"] == "navigation"}
        assert [n for n in tree if n["role"] in {"link", "heading", "columnheader"} and not n["name"].strip()] == []
        assert await tab.js("document.querySelectorAll('nav [aria-current]').length") == 3
        assert await tab.js("document.documentElement.scrollWidth") <= 320
