"""A stand-in for a vLLM server in dev mode: real sockets, the real door before it, and routes that behave as vLLM's.

Its log-probabilities come from the bytes of its weights. A paused engine queues what it is asked, as vLLM's does. It
can be slow, lie, fail and die.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.vllm.child import free_port
from deploy.vllm.hold import TOKEN_FILE, Hold

TOKENS = 5


def said_by(weights: Path, text: str) -> list[float]:
    seed = hashlib.sha256((weights / "model.safetensors").read_bytes() + text.encode()).hexdigest()
    draw = random.Random(seed)
    return [-10 * draw.random() for _ in range(TOKENS)]


def nothing(_: str) -> None:
    return None


@dataclass
class FakeVllm:
    """One server.

    Attributes:
        path: Folder of its weights.
        name: Release that its answers name.
        lie: What a reload really does: ``""`` all, ``none`` nothing, ``head`` half of it; it always says success.
        fails: Routes that answer with status 500.
        slow: Seconds that a route takes.
        hook: Called with a route before it is done, and with ``done`` and the route after it; the door's too.
        go_on: Ends requests that wait for it (``x_waits``).
        answered: Releases whose weights answered users, in order.
    """

    path: Path
    name: str
    model: str = "m"
    port: int = field(default_factory=free_port)
    lie: str = ""
    fails: set[str] = field(default_factory=set)
    slow: dict[str, float] = field(default_factory=dict)
    hook: Callable[[str], None] = nothing
    answered: list[tuple[str, str]] = field(default_factory=list)
    cache_blocks: int = 1
    go_on: bool = False
    head: Path | None = None

    def __post_init__(self) -> None:
        self.version = "default"
        self.running = 0
        self.resumed: asyncio.Event | None = None

    def app(self) -> Starlette:
        posts = {
            "/pause": self._pause, "/resume": self._resume, "/collective_rpc": self._rpc,
            "/reset_prefix_cache": self._reset, "/update_weight_version": self._version,
        }  # fmt: skip
        routes = [Route(path, self._guarded(path, work), methods=["POST"]) for path, work in posts.items()]
        routes += [
            Route("/v1/completions", self._complete, methods=["POST"]),
            Route("/version", self._about),
            Route("/health", self._about),
        ]
        made = Starlette(routes=routes, middleware=[Middleware(_Hooked, fake=self), Middleware(Hold)])
        made.state.openai_serving_completion = SimpleNamespace(system_fingerprint=self.name)
        self.speaker = made.state.openai_serving_completion
        return made

    def _guarded(self, path: str, work: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            await asyncio.sleep(self.slow.get(path, 0))
            if path in self.fails:
                return JSONResponse({"error": "on purpose"}, status_code=500)
            return JSONResponse(await work(request))

        return endpoint

    async def _pause(self, request: Request) -> dict[str, Any]:
        assert request.query_params["mode"] == "wait"
        self.resumed = self.resumed or asyncio.Event()
        while self.running:
            await asyncio.sleep(0.01)
        return {"status": "paused"}

    async def _resume(self, _: Request) -> dict[str, Any]:
        if self.resumed:
            self.resumed.set()
        self.resumed = None
        return {"status": "resumed"}

    async def _rpc(self, request: Request) -> dict[str, Any]:
        asked = await request.json()
        if asked["method"] == "alignd_describe":
            said = {"model": str(self.path), "dtype": "float32", "quantization": "", "speculative": False}
            return {"results": [said]}
        assert asked["method"] == "alignd_reload"
        assert self.resumed, "weights change only while the engine is paused"
        if self.lie != "none":
            self.head = self.path if self.lie == "head" else None
            self.path = Path(asked["kwargs"]["weights_path"])
        self.cache_blocks = 1
        return {"results": [{"shared": 2, "packed": 2}]}

    async def _reset(self, _: Request) -> dict[str, Any]:
        self.cache_blocks -= 1
        return {"success": self.cache_blocks < 0}

    async def _version(self, request: Request) -> dict[str, Any]:
        self.version = (await request.json())["new_version"]
        return {"success": True}

    async def _about(self, _: Request) -> Response:
        return JSONResponse({"version": "0.32.0"})

    async def _complete(self, request: Request) -> Response:
        asked = await request.json()
        while self.resumed:
            await self.resumed.wait()
        self.running += 1
        try:
            while asked.get("x_waits") and not self.go_on:
                await asyncio.sleep(0.01)
        finally:
            self.running -= 1
        prompts = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
        choices = [{"index": i, "text": "", "prompt_logprobs": self._logprobs(t)} for i, t in enumerate(prompts)]
        if not isinstance(asked["prompt"], list):
            self.answered.append((self.path.name, self.speaker.system_fingerprint))
        return JSONResponse(
            {"model": self.model, "system_fingerprint": self.speaker.system_fingerprint, "choices": choices}
        )

    def _logprobs(self, text: str) -> list[Any]:
        values = said_by(self.path, text)
        if self.head:
            values = [*values[: TOKENS // 2], *said_by(self.head, text)[TOKENS // 2 :]]
        return [None, *({str(i): {"logprob": v, "rank": 1}} for i, v in enumerate(values))]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve from a thread of its own."""
        config = uvicorn.Config(
            self.app(), host="127.0.0.1", port=self.port, log_level="warning", ws="none", lifespan="off"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            threading.Event().wait(0.01)

    def stop(self) -> None:
        """Die, with every request in flight."""
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()

    def restart(self, path: Path, name: str) -> None:
        """Come up anew, as a process would: what it was told before is gone."""
        self.stop()
        self.path, self.name, self.head, self.resumed, self.running = path, name, None, None, 0
        self.start()


class _Hooked:
    def __init__(self, app: ASGIApp, fake: FakeVllm) -> None:
        self._app, self._fake = app, fake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the answer back until the hook has returned: the route is done by then."""
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        await asyncio.to_thread(self._fake.hook, scope["path"])
        await self._app(scope, receive, keep)
        await asyncio.to_thread(self._fake.hook, f"done {scope['path']}")
        for message in kept:
            await send(message)


if __name__ == "__main__":
    served, folder, named, port, token = sys.argv[1:6]
    os.environ[TOKEN_FILE] = token
    fake = FakeVllm(path=Path(folder), name=named, model=served, port=int(port))
    uvicorn.run(fake.app(), host="127.0.0.1", port=fake.port, log_level="warning", ws="none")
