"""A real Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["Chromium", "Tab", "chromium"]

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--disable-extensions", "--remote-debugging-port=0", "--remote-allow-origins=*", "--hide-scrollbars",
)  # fmt: skip
_SECONDS = 30.0
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "Space": 32}


class Chromium:
    """The browser, by its one socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._sent = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.tabs: dict[str, Tab] = {}

    async def read(self) -> None:
        """Hand each message to whom it is for, until the browser goes."""
        async for message in self._socket:
            said = json.loads(message.data)
            if (waiting := self._waiting.pop(said.get("id", 0), None)) and not waiting.done():
                waiting.set_result(said)
            elif tab := self.tabs.get(said.get("sessionId", "")):
                tab.heard(said)

    async def send(self, method: str, session: str = "", **params: object) -> dict[str, Any]:
        self._sent += 1
        number = self._sent
        self._waiting[number] = answer = asyncio.get_running_loop().create_future()
        asked = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        await self._socket.send_json(asked)
        said = await asyncio.wait_for(answer, _SECONDS)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']['message']}")
        return dict(said["result"])

    @asynccontextmanager
    async def tab(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> AsyncIterator[Tab]:
        """Open a tab with storage and cookies of its own."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        made = await self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.send("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        tab = self.tabs[attached["sessionId"]] = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            await tab.send(f"{domain}.enable")
        await tab.send("Emulation.setFocusEmulationEnabled", enabled=True)
        await tab.resize(width, height)
        await tab.prefer(dark=dark)
        try:
            yield tab
        finally:
            self.tabs.pop(tab.session)
            await self.send("Target.disposeBrowserContext", browserContextId=context)


class Tab:
    """One page.

    Attributes:
        complaints: What the console, the content policy and uncaught errors said.
        requested: Every address that was asked for.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self.session = browser, session
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._answers: dict[str, tuple[int, str] | None] = {}
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()

    def heard(self, said: dict[str, Any]) -> None:
        params = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.complaints.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"dialog: {params['message']}")
            case "Fetch.requestPaused":
                self._stand_in(params)

    async def send(self, method: str, **params: object) -> dict[str, Any]:
        return await self._browser.send(method, self.session, **params)

    async def answer(self, path: str, said: tuple[int, object] | None) -> None:
        """Stand in for the server at a path: with a status and JSON, or with silence."""
        self._answers[path] = said and (said[0], base64.b64encode(json.dumps(said[1]).encode()).decode())
        await self.send("Fetch.enable", patterns=[{"urlPattern": f"*{p}"} for p in self._answers])

    def _stand_in(self, params: dict[str, Any]) -> None:
        path = "/" + params["request"]["url"].split("/", 3)[3]
        if (said := self._answers[path]) is not None:
            answered = self.send(
                "Fetch.fulfillRequest", requestId=params["requestId"], responseCode=said[0], body=said[1],
                responseHeaders=[{"name": "Content-Type", "value": "application/json"}],
            )  # fmt: skip
            self._tasks.add(task := asyncio.create_task(answered))
            task.add_done_callback(self._tasks.discard)

    async def resize(self, width: int, height: int) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def prefer(self, *, dark: bool = False, still: bool = False) -> None:
        """Set what the reader prefers."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        features += [{"name": "prefers-reduced-motion", "value": "reduce"}] if still else []
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def go(self, url: str, *, until: str = "!document.querySelector('main').hasAttribute('aria-busy')") -> None:
        """Open an address and wait until something holds there."""
        await self.send("Page.navigate", url=url)
        await self.until(f"document.querySelector('main') && {until}")

    async def js(self, expression: str) -> Any:  # noqa: ANN401  (what the page makes of it)
        """Return what an expression comes to, promises too."""
        said = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in said:
            raise RuntimeError(said["exceptionDetails"].get("exception", {}).get("description", expression))
        return said["result"].get("value")

    async def until(self, expression: str, *, seconds: float = 10.0) -> None:
        """Wait until an expression is true in the page, however often that is replaced meanwhile."""
        loop = asyncio.get_running_loop()
        end, why = loop.time() + seconds, "it is not"
        while loop.time() < end:
            try:
                if await self.js(f"Boolean({expression})"):
                    return
            except RuntimeError as error:
                why = str(error)
            await asyncio.sleep(0.02)
        shown = await self.js("document.body?.innerText ?? ''")
        raise AssertionError(f"not within {seconds} s: {expression} ({why}); the page says: {shown[:1500]}")

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key as a person would."""
        code = _KEYS[key]
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        named = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        shared = {**named, "modifiers": 8 * shift}
        await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **shared)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        await self.js(f"document.querySelector({json.dumps(selector)}).click()")

    async def text(self, selector: str = "main") -> str:
        return str(await self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def picture(self, path: Path) -> None:
        """Keep what the whole page looks like."""
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    async def tree(self) -> list[dict[str, Any]]:
        """What a screen reader is given: role, name and properties of all nodes that it does not pass over."""
        nodes = (await self.send("Accessibility.getFullAXTree"))["nodes"]
        return [
            {"role": n["role"]["value"], "name": n.get("name", {}).get("value", ""),
             **{p["name"]: p["value"].get("value") for p in n.get("properties", ())}}
            for n in nodes if not n["ignored"]
        ]  # fmt: skip


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Start the browser on a profile of its own; it and all its children are gone afterwards."""
    program = shutil.which("chromium")
    assert program, "chromium is missing; on Debian: apt-get install chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(await _address(Path(profile), process), max_msg_size=0) as socket,
            ):
                browser = Chromium(socket)
                reading = asyncio.create_task(browser.read())
                try:
                    yield browser
                finally:
                    reading.cancel()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser listens: it writes that into its profile."""
    file, loop = profile / "DevToolsActivePort", asyncio.get_running_loop()
    end = loop.time() + _SECONDS
    while loop.time() < end:
        assert process.poll() is None, "chromium ended at its start"
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.05)
    raise AssertionError("chromium does not say where it listens")
