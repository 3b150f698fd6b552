"""How a person gets in, and comes back."""

from __future__ import annotations

from tests.chromium_host import Tab
from tests.page_site import Site

__all__ = ["READY", "enter", "look_again"]

READY = "document.querySelector('main h1') && !document.querySelector('main').hasAttribute('aria-busy')"


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
