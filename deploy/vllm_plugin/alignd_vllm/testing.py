"""A server in memory with the plugin's own routes: vLLM's table of names and its handlers, without a model.

For the tests of the plugin and of whoever calls it. What a release says is its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alignd_vllm.errors import Reason, Refused
from alignd_vllm.names import Names
from alignd_vllm.record import admin_token
from alignd_vllm.routes import Refusals, routes
from alignd_vllm.server import Limits
from alignd_vllm.steering import Steering

__all__ = ["FakeAdapter", "FakeVllm"]


_Endpoint = Callable[[Request], Awaitable[Response]]


def _nothing(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class FakeAdapter:
    """What the table of names holds."""

    release: str
    path: str


@dataclass(kw_only=True)
class FakeVllm:
    """One server; ``start`` is a restart of it, in which adapters are lost as vLLM loses them.

    Attributes:
        releases: Release store.
        folder: The plugin's state folder.
        broken: Releases that fail the self-test.
        api_key: Key that every route under ``/v1`` asks for; ``""``: none.
        answer: Awaited while a request is in flight.
        hook: Called with each thing that is done to the model, before it is done; what it raises passes through.
        done: Those things, in order.
    """

    base: str
    releases: Path
    folder: Path
    public: tuple[str, ...] = ("prod",)
    version: str = "0.32.0"
    limits: Limits = field(default_factory=lambda: Limits(lora_rank_max=16, loras_max=2))
    broken: frozenset[str] = frozenset()
    api_key: str = ""
    answer: Callable[[], Awaitable[object]] | None = None
    hook: Callable[[str], None] = _nothing
    done: list[str] = field(default_factory=list)
    flights: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Begin without adapters."""
        self.names = Names({}, public=self.public)
        self.refusals = Refusals()
        self.steering: Steering | None = None
        self.token = ""

    async def start(self, *, drain_seconds: float = 1.0) -> FakeVllm:
        """Start anew, as the plugin does in vLLM."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.token = admin_token(self.folder / "admin-token")
        self.names, self.flights = Names({}, public=self.public), Counter()
        steering = Steering(
            server=self, names=self.names, releases=self.releases, state=self.folder,
            clock=lambda: datetime.now(UTC), drain_seconds=drain_seconds,
        )  # fmt: skip
        await steering.start()
        self.steering = steering
        return self

    @property
    def app(self) -> Starlette:
        """The ASGI application."""
        plugin = routes(self._steers, lambda: self.token, self.refusals)
        return Starlette(
            routes=[
                *plugin,
                Route("/v1/completions", self._guarded(self._complete), methods=["POST"]),
                Route("/v1/models", self._guarded(self._models)),
                Route("/version", self._version),
            ]
        )

    async def load(self, release: str, path: str) -> object:
        """Load an adapter."""
        self._do(f"load {release}")
        return FakeAdapter(release, path)

    async def unload(self, release: str, adapter: object) -> None:
        """Unload an adapter."""
        del adapter
        self._do(f"unload {release}")

    async def answer_one(self, release: str) -> None:
        """Answer one token."""
        self._do(f"try {release}")
        if release.split("@", maxsplit=1)[0] in self.broken:
            raise Refused(Reason.STAGE, f"release {release}: its weights give no finite probability")

    def in_flight(self, release: str) -> int:
        """Count requests in flight."""
        return self.flights[release]

    def _steers(self) -> Steering:
        if self.steering is None:
            raise Refused(Reason.STAGE, "the server is starting; ask again")
        return self.steering

    def _do(self, what: str) -> None:
        self.hook(what)
        self.done.append(what)

    def _guarded(self, endpoint: _Endpoint) -> _Endpoint:
        async def guarded(request: Request) -> Response:
            if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
                return JSONResponse({"error": "Unauthorized"}, status_code=401)
            return await endpoint(request)

        return guarded

    async def _complete(self, request: Request) -> Response:
        """As vLLM does: adapters first, then the base's names; no name is the base's."""
        model = (await request.json()).get("model")
        if model in self.names:
            found = self.names[model]
        elif not model or model in {self.base, *self.public}:
            found = None
        else:
            raise HTTPException(404, f"The model `{model}` does not exist.")
        release = found.release if isinstance(found, FakeAdapter) else self.base
        self.flights[release] += 1
        try:
            if self.answer:
                await self.answer()
        finally:
            self.flights[release] -= 1
        return JSONResponse({"model": release, "choices": [{"text": release}]})

    async def _models(self, request: Request) -> Response:
        del request
        names = [self.base, *self.public, *(str(n) for n in self.names)]
        return JSONResponse({"object": "list", "data": [{"id": n} for n in names]})

    async def _version(self, request: Request) -> Response:
        del request
        return JSONResponse({"version": self.version})
