"""The HTTP API over the world in memory, with one token for each set of scopes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import httpx

from monitor.api import make_api
from monitor.api_settings import Scope, TokenSettings
from monitor.hook_settings import HooksSettings
from monitor.incident import Incident
from monitor.service import Service
from monitor.web.access import Access, digest_of, new_token
from monitor.web.calls import CallRecord
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import World

__all__ = ["Api", "opened"]

SCOPES: dict[str, tuple[Scope, ...]] = {
    "reader": (Scope.READ,), "operator": (Scope.READ, Scope.OPERATE), "approver": (Scope.READ, Scope.APPROVE),
    "all": tuple(Scope),
}  # fmt: skip


@dataclass(kw_only=True)
class Api:
    """A service with its API.

    Attributes:
        swept: Targets that a sweep was asked for, in order.
        records: What was put down of the calls.
    """

    service: Service
    incident: Incident
    tokens: dict[str, str] = field(default_factory=lambda: {name: new_token() for name in SCOPES})
    expires: datetime | None = None
    swept: list[str] = field(default_factory=list)
    records: list[CallRecord] = field(default_factory=list)
    hooks: HooksSettings = field(default_factory=HooksSettings)
    amend: Callable[[Access], Access] = lambda access: access

    def __post_init__(self) -> None:
        tokens = tuple(
            TokenSettings(name=name, sha256=digest_of(token), scopes=SCOPES[name], expires=self.expires)
            for name, token in self.tokens.items()
        )
        self.access = self.amend(Access(tokens=tokens, open_to_read=False))
        self.app = make_api(
            self.service, healthy=lambda: True, access=self.access, hooks=self.hooks, sweep=self.swept.append,
            record=self.records.append,
        )  # fmt: skip

    def client(self, who: str = "", **headers: str) -> httpx.AsyncClient:
        """Return a client with a token, or without one."""
        shown = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers={**shown, **headers})


@asynccontextmanager
async def opened(world: World, *, through: bool = False, **fields: object) -> AsyncIterator[Api]:
    """Open the API over a world with an incident.

    Args:
        through: Whether the incident is carried to its end.
        fields: Of ``Api``.
    """
    service = world.service()
    incident = await breach(world, service)
    if through:
        incident = await carry_on(world, service, incident)
    api = Api(service=service, incident=incident)
    yield replace(api, **fields) if fields else api
    await service.aclose()
