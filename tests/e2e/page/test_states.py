"""The page while it waits, finds nothing, is refused or loses its session; and the words for its figures."""

from __future__ import annotations

import pytest

from tests.chromium_host import Chromium, Tab
from tests.e2e.page.entering import READY, enter, look_again
from tests.page_site import CALM, WAITS, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

TARGETS = "/api/v1/targets"


async def test_it_says_that_it_loads_and_that_there_is_nothing(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        await tab.answer(TARGETS, None)
        await tab.go(f"{site.url}/", until="document.querySelector('main').ariaBusy == 'true'")
        assert await tab.text() == "Loading…"
        await tab.answer(TARGETS, (200, {"at": "2026-01-01T00:00:00Z", "version": "1", "targets": []}))
        await tab.go(f"{site.url}/", until="document.querySelector('.empty')")
        assert "No targets are watched." in await tab.text()


async def test_a_large_fleet_can_be_filtered(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        said = await tab.js(f"fetch('{TARGETS}').then(r => r.json())")
        many = [{**t, "name": f"{t['name']}-{i:03d}"} for i in range(100) for t in said["targets"]]
        await tab.answer(TARGETS, (200, {**said, "targets": many}))
        await tab.go(f"{site.url}/", until=READY)
        rows = "document.querySelectorAll('main section:first-of-type tbody th a').length"
        assert await tab.js(rows) == 400
        await tab.js("document.querySelector('#filter').focus()")
        await tab.type(f"{CALM}-04")
        assert await tab.js(rows) == 10
        assert await tab.text("#found") == "10 shown"
        assert "400 targets" in await tab.text()
        await look_again(tab, f"{rows} == 10 && document.activeElement.value == '{CALM}-04'")


@pytest.mark.parametrize(("held", "group"), [(None, "handled"), ("2026-01-01T00:00:00Z", "person")])
async def test_a_quarantine_whose_repair_is_held_needs_a_person(
    site: Site, browser: Chromium, held: str | None, group: str
) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        said = await tab.js(f"fetch('{TARGETS}').then(r => r.json())")
        out = {"quarantine": {"why": "w", "release": "r", "lift": None}, "incident": "i", "held_since": held}
        targets = [{**t, **out} if t["name"] == CALM else t for t in said["targets"]]
        await tab.answer(TARGETS, (200, {**said, "targets": targets}))
        await tab.go(f"{site.url}/", until=READY)
        row = f"document.querySelector('[data-key=target-{CALM}]')"
        assert await tab.js(f"{row}.closest('tbody').dataset.key") == group


async def test_a_fault_is_told_and_old_figures_stay(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        for status in (503, 429):
            await tab.answer(TARGETS, (status, {"detail": "the store is locked"}))
            await look_again(tab, "!document.querySelector('#banner').hidden")
            assert WAITS in await tab.text()
        await tab.go(f"{site.url}/", until="document.querySelector('main h1')?.textContent.startsWith('Can')")
        assert "the store is locked" in await tab.text()
        await tab.send("Fetch.disable")
        await look_again(tab, "document.querySelector('table')")
        assert await tab.js("document.querySelector('#banner').hidden")


async def test_a_target_that_never_answered_is_not_said_to_be_calm(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        path = f"/targets/{CALM}"
        await enter(tab, site, path)
        assert "Nothing points to drift" in await tab.text()
        assert (await tab.text("section dl")).count("in service") == 1, "it is the last known good release itself"
        said = await tab.js(f"fetch('/api/v1{path}').then(r => r.json())")
        silent = {**said["evidence"], "log": None, "everything": None}
        await tab.answer(f"/api/v1{path}", (200, {**said, "up": False, "verdict": "inconclusive", "evidence": silent}))
        await tab.go(site.url + path, until=READY)
        shown = await tab.text()
        assert "No probe of this epoch was answered: nothing is known." in shown
        assert "othing points to drift" not in shown


async def test_a_target_says_why_some_of_its_probes_got_no_answer(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        path = f"/targets/{CALM}"
        await enter(tab, site, path)
        assert "got no usable answer" not in await tab.text()
        said = await tab.js(f"fetch('/api/v1{path}').then(r => r.json())")
        sweep = {"probes": 16, "missing": 5, "reasons": {"timeout": 1, "unreachable": 1, "http_503": 3}}
        await tab.answer(f"/api/v1{path}", (200, {**said, "newest_sweep": sweep}))
        await tab.go(site.url + path, until=READY)
        told = "5 of 16 probes of the newest sweep got no usable answer (http_503 3, timeout 1, unreachable 1)."
        assert told in await tab.text(".callout")


async def test_a_drift_that_goes_on_and_on_leaves_the_thresholds_apart(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        path = f"/targets/{CALM}/evidence"
        await enter(tab, site, f"/targets/{CALM}")
        said = await tab.js(f"fetch('/api/v1{path}').then(r => r.json())")
        points = [{**said["points"][-1], "position": i, "log": 2.3 * i} for i in range(1, 700)]
        await tab.answer(f"/api/v1{path}", (200, {**said, "points": points}))
        await tab.go(f"{site.url}/targets/{CALM}", until=READY)
        heights = await tab.js("[...document.querySelectorAll('figure .threshold')].map(t => +t.getAttribute('y1'))")
        assert heights[0] - heights[1] > 12
        assert await tab.js("+document.querySelector('figure .last').getAttribute('cy')") > 0


async def test_an_incident_that_nothing_can_repair_waits_for_no_approval(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        path = f"/incidents/{site.waiting.id}"
        await enter(tab, site, path)
        said = await tab.js(f"fetch('/api/v1{path}').then(r => r.json())")
        await tab.answer(f"/api/v1{path}", (200, {**said, "state": "OPEN"}))
        await tab.go(site.url + path, until=READY)
        assert await tab.text(".head .badge") == "Waits for a person"


async def test_a_session_that_ended_asks_again_and_leads_back(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site, f"/targets/{CALM}")
        await tab.send("Network.clearBrowserCookies")
        await look_again(tab, "document.activeElement.id == 'token'")
        assert CALM not in await tab.text()
        await tab.type(site.tokens["read"])
        await tab.press("Enter")
        await tab.until(f"{READY} && document.querySelector('h1').textContent == '{CALM}'")
        assert await tab.text("#who span") == "anna-read"


async def test_rails_that_hold_an_incident_are_named_and_can_be_lifted(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        path = f"/incidents/{site.waiting.id}"
        await enter(tab, site, path)
        said = await tab.js(f"fetch('/api/v1{path}').then(r => r.json())")
        held = [
            {"name": "cooldown", "why": "a repair began 2 h ago", "until": "2036-01-01T00:00:00Z", "person": False},
            {"name": "breaker", "why": "3 failed; `alignd breaker reset m` closes it", "until": None, "person": True},
        ]
        facts = {**said["facts"], "held": held, "held_since": "2026-01-01T00:00:00Z"}
        await tab.answer(f"/api/v1{path}", (200, {**said, "state": "PATCHING", "facts": facts}))
        await tab.go(site.url + path, until=READY)
        rails = await tab.js("[...document.querySelectorAll('.rails li')].map(r => r.innerText)")
        assert rails[0].startswith("cooldown: a repair began 2 h ago, until in ")
        assert rails[1] == "breaker: 3 failed; alignd breaker reset m closes it, until a person ends it"
        assert "Held since" not in await tab.text()
        assert await tab.text("[data-action=approve]") == "Approve in spite of the rails…"
        await tab.click("[data-action=approve]")
        assert "cooldown, breaker" in await tab.text("dialog")


async def test_going_back_shows_what_was_there(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        await tab.click(f"a[href='/targets/{CALM}']")
        await tab.until(f"document.title == '{CALM} \u2013 alignd'")
        await tab.js("history.back()")
        await tab.until("document.title == 'Fleet \u2013 alignd'")


async def _of(tab: Tab, module: str, expression: str) -> object:
    """Evaluate an expression of a module's own names, as ``m``."""
    folder = "document.querySelector('link[rel=stylesheet]').href.replace('app.css', '')"
    return await tab.js(f"import({folder} + '{module}').then(m => {expression})")


async def test_figures_are_written_for_people(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        written = {
            "m.percent(0)": "0 %", "m.percent(0.0123)": "1.2 %", "m.percent(0.0996)": "10 %", "m.percent(1)": "100 %",
            "m.percent(null)": "\u2013", "m.interval({lower: 0.004, upper: 0.2})": "0.4\u201320 %",
            "m.amount(null)": "none", "m.amount(-2)": "none", "m.amount(Math.log(1e6))": "1 million",
            "m.amount(Math.log(2345))": "2\u202f345", "m.amount(Math.log(1.5))": "1.5", "m.amount(50)": "10^22",
            "m.span(0.2)": "0 s", "m.span(59.6)": "1 min", "m.span(90)": "1 min 30 s", "m.span(11100)": "3 h 5 min",
            "m.span(47 * 86400)": "47 d", "m.figure(0.00123)": "0.00123",
        }  # fmt: skip
        for expression, said in written.items():
            assert await _of(tab, "format.js", expression) == said, expression


async def test_times_have_a_zone(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await tab.send("Emulation.setTimezoneOverride", timezoneId="Asia/Kolkata")
        await enter(tab, site)
        moment = "m.clock('2020-02-29T20:00:05Z')"
        assert await _of(tab, "format.js", moment) == "29 Feb 2020, 20:00:05 UTC"
        await tab.click("[data-action=zone]")
        assert await _of(tab, "format.js", moment) == "1 Mar 2020, 01:30:05 GMT+5:30"
        assert "GMT+5:30" in await tab.text()
        await tab.go(f"{site.url}/", until=READY)
        assert await tab.text("[data-action=zone]") == "Times: local"


async def test_rows_that_change_places_keep_the_focus(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        await tab.js("document.body.append(window.list = document.createElement('ul'))")
        make = "m.h('li', {{'data-key': k}}, m.h('a', {{href: '#' + k}}, k + '{0}'))"
        await _of(tab, "dom.js", f"m.morph(list, ['a', 'b', 'c'].map(k => {make.format(1)}))")
        await tab.js("window.kept = list.querySelector('[href=\"#c\"]'); kept.focus()")
        await _of(tab, "dom.js", f"m.morph(list, ['c', 'd', 'a'].map(k => {make.format(2)}))")
        assert await tab.js("list.textContent") == "c2d2a2"
        assert await tab.js("document.activeElement === kept")
