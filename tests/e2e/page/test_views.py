"""The page in a real browser: what its views show, to whom, how fast, and that no text is ever more than text."""

from __future__ import annotations

import pytest

from tests.chromium_host import Chromium, Tab
from tests.e2e.page.entering import READY, enter, look_again
from tests.page_site import CALM, ENDED, HOSTILE, PAUSED, WAITS, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = "401 (Unauthorized)"
FIRST_PAINT = """
new MutationObserver((_, self) => {
  if (document.querySelector('main table')) { window.shownAfter = performance.now(); self.disconnect(); }
}).observe(document, {childList: true, subtree: true});
"""


def _views(site: Site) -> dict[str, str]:
    return {
        "fleet": "/", "target": f"/targets/{ENDED}", "waits": f"/incidents/{site.waiting.id}",
        "ended": f"/incidents/{site.escalated.id}", "paused": f"/targets/{PAUSED}",
        "probes": f"/incidents/{site.waiting.id}/transcripts", "none": f"/targets/{PAUSED}/transcripts",
    }  # fmt: skip


async def test_what_needs_a_person_comes_first(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        names = await _texts(tab, "section:first-of-type tbody th a")
        assert set(names[:2]) == {WAITS, ENDED}
        assert names[2:] == [PAUSED, CALM]
        assert await _texts(tab, ".group .badge") == ["Needs a person", "Paused", "Healthy"]
        shown = await tab.text()
        assert "4 targets: 2 need a person, 1 paused, 1 healthy; 1 open incident." in shown
        assert "paused by anna" in shown
        assert shown.index("Waits for approval") < shown.index("Recent incidents")
        assert [c for c in tab.complaints if REFUSED not in c] == []
        assert {u.split("/")[2] for u in tab.requested} == {site.url.split("/")[2]}


async def test_a_target_shows_its_evidence_against_the_threshold(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site, f"/targets/{ENDED}")
        picture = await tab.js("document.querySelector('figure svg').getAttribute('aria-label')")
        assert picture.startswith("Evidence is ")
        assert "the threshold is 1 million" in picture
        await tab.click("figure summary")
        watched = site.service.watched(ENDED)
        assert watched
        n = watched[1].position
        assert (await _texts(tab, "figure tbody th"))[-1] == f"{n}"
        for stratum in watched[1].by_stratum:
            assert stratum in await tab.text("#strata + table")
        assert watched[0].release in await tab.text("#releases + table")


async def test_an_incident_shows_what_was_tried_and_each_gate(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        incident = site.waiting
        await enter(tab, site, f"/incidents/{incident.id}")
        shown = await tab.text()
        assert f"{incident.candidate} passed every gate" in shown
        assert await _texts(tab, ".trial .name") == list(incident.recipes)
        verification = incident.trials[2].verification
        assert verification
        measured = [f"gate-{g['name']}" for g in verification["gates"] if g["status"] != "not measured"]
        rows = "[...document.querySelectorAll('[data-key=gates-2] > table tbody tr')].map(r => r.dataset.key)"
        assert sorted(await tab.js(rows)) == sorted(measured)
        assert await tab.js("document.querySelectorAll('#timeline + table tbody tr').length") == len(incident.events)
        plan = await site.service.plan(incident.id)
        assert [line.split(":")[0] for line in await _texts(tab, ".plan > li")] == [
            "Waits for approval", "Promoting", "Confirming on live traffic"
        ]
        told = await tab.text("#what + dl")
        assert all(digest in told for digest in plan.digests.values())
        assert await _texts(tab, "[aria-current=step] .step") == ["Waits for approval"]


async def test_text_is_text_whatever_it_holds(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        for path in (f"/incidents/{site.waiting.id}", f"/targets/{CALM}"):
            await tab.go(site.url + path, until=READY)
            assert HOSTILE in await tab.text()
            assert "owned" not in await tab.js("document.title")
            assert await tab.js("document.querySelectorAll('main img, main script').length") == 0
        for folder in ("targets", "incidents"):
            path = f"/{folder}/%3Cimg%20src=x%20onerror=alert(1)%3E"
            await tab.go(site.url + path, until="document.querySelector('main h1')?.textContent == 'Not found'")
        assert not [c for c in tab.complaints if "dialog" in c or "Security" in c]
        with pytest.raises(RuntimeError, match="TrustedHTML"):
            await tab.js("document.querySelector('main').innerHTML = '<b>'")


@pytest.mark.parametrize("dark", [False, True])
async def test_every_view_fits_every_screen_light_and_dark(site: Site, browser: Chromium, dark: bool) -> None:
    async with browser.tab(dark=dark) as tab:
        await enter(tab, site)
        for name, path in _views(site).items():
            await tab.go(site.url + path, until=READY)
            await tab.js("document.querySelectorAll('details').forEach(d => { d.open = true })")
            for width in (320, 760, 1030):
                await tab.resize(width, 640)
                assert await tab.js("document.documentElement.scrollWidth") <= width, f"{name} at {width}"
        colour = await tab.js("getComputedStyle(document.body).backgroundColor")
        assert colour == ("rgb(16, 21, 27)" if dark else "rgb(245, 246, 248)")
        await tab.click("[data-action=theme]")
        await tab.go(site.url + "/", until=READY)
        assert await tab.js("getComputedStyle(document.body).backgroundColor") != colour


async def test_it_is_there_within_a_second(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        await tab.send("Network.setCacheDisabled", cacheDisabled=True)
        await tab.send("Page.addScriptToEvaluateOnNewDocument", source=FIRST_PAINT)
        took = []
        for _ in range(3):
            await tab.go(site.url + "/", until="window.shownAfter")
            took.append(await tab.js("window.shownAfter"))
        assert min(took) < 1000, took


async def test_a_refresh_keeps_focus_scroll_and_what_is_open(site: Site, browser: Chromium) -> None:
    async with browser.tab(height=500) as tab:
        await enter(tab, site, f"/incidents/{site.waiting.id}")
        await tab.js("document.querySelector('[data-key=gates-1]').open = true")
        await tab.js("window.kept = document.querySelector('[data-key=gates-1] summary'); kept.focus()")
        await tab.js("scrollTo(0, 700)")
        before = await tab.js("scrollY")
        await tab.js("window.asked = performance.getEntriesByType('resource').length")
        await look_again(tab, "performance.getEntriesByType('resource').length >= asked + 2 && document.activeElement")
        assert await tab.js("document.activeElement === kept && kept.isConnected && kept.parentNode.open")
        assert before > 0
        assert await tab.js("scrollY") == before


async def test_a_change_is_said_aloud(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        pause = site.service.store.pause_of(PAUSED)
        assert pause
        site.service.store.resume(PAUSED, by="anna", at=site.service.clock())
        try:
            await look_again(tab, f"document.querySelector('#live').textContent.startsWith('{PAUSED}: ')")
        finally:
            site.service.store.pause(pause)
        assert await tab.js("document.querySelector('#live').getAttribute('aria-live')") == "polite"


async def test_a_daemon_that_does_not_answer_leaves_its_last_figures(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        await _cut(tab, offline=True)
        await look_again(tab, "!document.querySelector('#banner').hidden")
        said = await tab.text("#banner")
        assert said.startswith("The daemon does not answer. Figures are of ")
        assert "UTC" in said
        assert WAITS in await tab.text()
        await _cut(tab, offline=False)
        await look_again(tab, "document.querySelector('#banner').hidden")


async def _texts(tab: Tab, selector: str) -> list[str]:
    return list(await tab.js(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)"))


async def _cut(tab: Tab, *, offline: bool) -> None:
    await tab.send("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1,
                   uploadThroughput=-1)  # fmt: skip
