"""The page without a mouse and without eyes, and what a person can do there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.policy import Order
from tests.chromium_host import Chromium, Tab
from tests.e2e.page.entering import READY, enter
from tests.page_site import CALM, ENDED, WAITS, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMED = {"button", "link", "textbox", "combobox", "table", "dialog", "image", "heading", "columnheader"}
FOCUSED = "(document.activeElement.dataset.action ?? document.activeElement.textContent.trim())"


def _named(tree: list[dict[str, Any]], role: str) -> list[str]:
    return [n["name"] for n in tree if n["role"] == role]


async def test_a_screen_reader_finds_its_way(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        for path in ("/", f"/targets/{ENDED}", f"/incidents/{site.waiting.id}"):
            await tab.go(site.url + path, until=READY)
            tree = await tab.tree()
            roles = {n["role"] for n in tree}
            assert {"banner", "main", "heading", "table", "status"} <= roles, path
            assert [n["name"] for n in tree if n["role"] == "heading" and n["level"] == 1] != [""]
            assert sum(n["role"] == "heading" and n["level"] == 1 for n in tree) == 1, path
            assert [n for n in tree if n["role"] in NAMED and not n["name"].strip()] == [], path
            regions = [n["name"] for n in tree if n["role"] == "region"]
            assert regions, path
            assert len(set(regions)) == len(regions), path
        assert await tab.js("document.documentElement.lang") == "en"


async def test_tables_stay_tables_where_rows_are_cards(site: Site, browser: Chromium) -> None:
    async with browser.tab(width=320) as tab:
        await enter(tab, site)
        tree = await tab.tree()
        assert _named(tree, "table")[0] == "Targets, those that need a person first"
        assert sum(n["role"] == "rowheader" for n in tree) >= 4
        assert "columnheader" in {n["role"] for n in tree}


async def test_everything_can_be_reached_by_keyboard(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        await tab.go(f"{site.url}/", until=READY)
        seen = []
        for _ in range(9):
            await tab.press("Tab")
            seen.append(await tab.js(FOCUSED))
            assert await tab.js("getComputedStyle(document.activeElement).outlineStyle") == "solid", seen
        assert seen[:5] == ["Skip to the content", "alignd", "zone", "theme", "sign-out"]
        while await tab.js(FOCUSED) != WAITS:
            await tab.press("Tab")
        await tab.press("Enter")
        await tab.until(f"location.pathname == '/targets/{WAITS}' && document.activeElement.matches('h1')")
        await tab.press("Tab", shift=True)
        assert await tab.js(FOCUSED) == "Fleet"
        await tab.press("Enter")
        await tab.until("location.pathname == '/' && document.activeElement.textContent == 'Fleet'")


async def test_nothing_moves_for_those_who_prefer_that(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site)
        duration = "getComputedStyle(document.querySelector('button')).transitionDuration"
        assert await tab.js(duration) != "0s"
        await tab.prefer(still=True)
        assert await tab.js(duration) == "0s"


async def test_a_promotion_is_approved_after_a_word_on_what_follows(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        incident = site.waiting
        await enter(tab, site, f"/incidents/{incident.id}")
        await tab.js("document.querySelector('[data-action=approve]').focus()")
        await tab.press("Enter")
        await tab.until("document.querySelector('dialog[open]')")
        said = await tab.text("dialog")
        assert all(word in said for word in (WAITS, incident.candidate, incident.last_good, "gets all new traffic"))
        assert [n["name"] for n in await tab.tree() if n["role"] == "dialog"] == ["Approve promotion"]
        assert await tab.js(FOCUSED) == "Cancel"
        await tab.press("Escape")
        await tab.until("!document.querySelector('dialog')")
        assert await tab.js(FOCUSED) == "approve"
        assert site.service.store.order_for(incident.id) is None
        await tab.press("Enter")
        await tab.until("document.querySelector('dialog[open]')")
        await tab.press("Tab")
        await tab.press("Enter")
        await tab.until("!document.querySelector('dialog')")
        placed = site.service.store.order_for(incident.id)
        assert placed
        assert (placed.order, placed.by) == (Order.APPROVE, "anna-approve")
        assert "taken it" in await tab.text("#live")
        site.service.store.drop(placed, at=site.service.clock())


async def test_a_roll_back_wants_the_targets_name(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        incident = site.waiting
        await enter(tab, site, f"/incidents/{incident.id}")
        await tab.click("[data-action=roll_back]")
        await tab.until("document.activeElement.id == 'typed'")
        assert incident.last_good in await tab.text("dialog")
        await tab.type(WAITS[:-1])
        await tab.press("Enter")
        assert await tab.js("document.querySelector('dialog [type=submit]').disabled")
        assert site.service.store.order_for(incident.id) is None
        await tab.type(WAITS[-1])
        await tab.press("Enter")
        await tab.until("!document.querySelector('dialog')")
        placed = site.service.store.order_for(incident.id)
        assert placed
        assert placed.order is Order.ROLL_BACK
        site.service.store.drop(placed, at=site.service.clock())


async def test_a_target_is_paused_resumed_and_swept(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site, f"/targets/{CALM}", who="operate")
        await _do(tab, "sweep")
        assert site.swept[-1:] == [CALM]
        await tab.click("[data-action=pause]")
        await tab.js("document.querySelector('#pause-reason').focus()")
        await tab.type("load test <b>")
        await tab.press("Enter")
        await tab.until("!document.querySelector('dialog')")
        pause = site.service.store.pause_of(CALM)
        assert pause
        assert pause.by == "anna-operate"
        assert pause.until
        await tab.until("document.querySelector('[data-action=resume]')")
        assert "Paused by anna-operate until" in await tab.text()
        assert "UTC: load test <b>" in await tab.text()
        await _do(tab, "resume")
        assert site.service.store.pause_of(CALM) is None


async def test_a_quarantine_is_lifted_by_who_types_the_target_and_says_why(site: Site, browser: Chromium) -> None:
    deployer, served = site.worlds[CALM].deployer, site.worlds[CALM].active
    await deployer.quarantine("out of service: <b>")
    await site.service.tick(CALM)
    async with browser.tab() as tab:
        await enter(tab, site, who="operate")
        assert await tab.text(f"[data-key=target-{CALM}] .badge") == "Users get 503"
        assert "users of 1 get 503." in await tab.text(".lead")
        await tab.go(f"{site.url}/targets/{CALM}", until=READY)
        assert "Quarantined, users get 503: out of service: <b>." in await tab.text()
        assert await tab.text("h1 + .badge") == "Needs a person", "nothing else ends it"
        await tab.click("[data-action=lift]")
        await tab.until("document.activeElement.id == 'typed'")
        assert served in await tab.text("dialog")
        await tab.type(CALM)
        await tab.press("Enter")
        assert await tab.js("document.querySelector('dialog[open]') != null"), "a reason is needed"
        await tab.js("document.querySelector('#lift-reason').focus()")
        await tab.type("a false alarm")
        await tab.press("Enter")
        await tab.until("!document.querySelector('dialog')")
        lift = site.service.store.lifts()[CALM]
        assert (lift.by, lift.why) == ("anna-operate", "a false alarm")
        await tab.until("!document.querySelector('[data-action=lift]')")
        assert "anna-operate lifts it: a false alarm." in await tab.text()
    await site.service.lifting.carry_on(CALM)
    assert site.worlds[CALM].active == served
    await site.service.tick(CALM)


async def _do(tab: Tab, action: str) -> None:
    await tab.click(f"[data-action={action}]")
    await tab.until("document.querySelector('dialog[open]')")
    await tab.click("dialog [type=submit]")
    await tab.until("!document.querySelector('dialog')")


async def test_who_may_only_read_gets_no_buttons(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await enter(tab, site, f"/incidents/{site.waiting.id}", who="read")
        assert "scope “approve”" in await tab.text()
        assert await tab.js("document.querySelectorAll('main [data-action]').length") == 0
        await tab.go(f"{site.url}/targets/{CALM}", until=READY)
        assert await tab.js("document.querySelectorAll('main [data-action]').length") == 0


async def test_a_token_opens_a_session_that_scripts_can_not_take(site: Site, browser: Chromium) -> None:
    async with browser.tab() as tab:
        await tab.go(f"{site.url}/targets/{CALM}", until="document.querySelector('#token')")
        assert len([u for u in tab.requested if "/api/" in u]) == 1, "who is not signed in is refused once"
        await tab.type("alignd_wrong")
        await tab.press("Enter")
        await tab.until("document.querySelector('.fault').textContent")
        await enter(tab, site, f"/targets/{CALM}")
        assert await tab.js("location.pathname") == f"/targets/{CALM}"
        kept = await tab.js("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
        assert kept == "{}{}"
        (cookie,) = (await tab.send("Network.getCookies"))["cookies"]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        bare = f"fetch('/api/v1/targets/{CALM}/pause', {{method: 'POST', body: '{{}}', headers: {json.dumps(_JSON)}}})"
        assert await tab.js(f"{bare}.then(r => r.status)") == 403
        assert site.service.store.pause_of(CALM) is None
        await tab.click("[data-action=sign-out]")
        await tab.until("document.querySelector('#token')")
        assert await tab.js("fetch('/api/v1/targets').then(r => r.status)") == 401


_JSON = {"Content-Type": "application/json"}
