"""One browser and one site for the tests of the page, and how a person gets in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chromium_host import Chromium, Tab, chromium
from tests.page_site import Site, page_site

__all__ = ["READY", "browser", "enter", "look_again", "site"]

READY = "document.querySelector('main h1') && !document.querySelector('main').hasAttribute('aria-busy')"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with page_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Chromium]:
    async with chromium() as started:
        yield started


async def enter(tab: Tab, site: Site, path: str = "/", *, who: str = "approve") -> None:
    """Sign in as a person does, and go to a view."""
    await tab.go(site.url + path, until="document.querySelector('#token')")
    await tab.js("document.querySelector('#token').focus()")
    await tab.type(site.tokens[who])
    await tab.press("Enter")
    await tab.until(f"!document.querySelector('#token') && {READY}")


async def look_again(tab: Tab, until: str) -> None:
    """Have the page ask now, as it does when a person comes back to it, and wait for what comes of it."""
    await tab.js("document.dispatchEvent(new Event('visibilitychange'))")
    await tab.until(until)
