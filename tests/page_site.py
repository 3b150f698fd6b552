"""A daemon's API and page over a small world: one target waits for approval, one is escalated, one healthy, one paused.

``python -m tests.page_site`` serves it until it is stopped.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn

from monitor.api import make_api
from monitor.api_settings import Scope, TokenSettings
from monitor.incident import Incident
from monitor.policy import Containment, Mode
from monitor.recorder import Recorder
from monitor.service import Service
from monitor.store import Pause
from monitor.stores.sql import SqlStore
from monitor.web.access import Access, digest_of, new_token
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep
from probes.transcripts.store import TranscriptStore
from remediation.errors import PatchFailed
from tests.fake_site import GOOD, RATES, Clock, Ways, World

__all__ = ["HOSTILE", "Site", "page_site"]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
DRIFTED = Ways(asr=0.6)
WAITS, ENDED, CALM, PAUSED = "support-chat", "code-assist", "summaries", "search-answers"


class LiveClock(Clock):
    """Passes as the world is told, then as the real one does."""

    def __init__(self, now: datetime) -> None:
        self.now, self.live = now, False

    def __call__(self) -> datetime:
        return datetime.now(UTC) if self.live else super().__call__()


@dataclass(kw_only=True)
class Site:
    """What is served.

    Attributes:
        tokens: By scope: ``read`` sees, ``operate`` pauses and sweeps too, ``approve`` may do all.
        swept: Targets that were asked to be swept.
    """

    service: Service
    worlds: dict[str, World]
    url: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    swept: list[str] = field(default_factory=list)

    @property
    def waiting(self) -> Incident:
        return self.service.store.incidents(target=WAITS, limit=1)[0]

    @property
    def escalated(self) -> Incident:
        return self.service.store.incidents(target=ENDED, limit=1)[0]


def _recorder(folder: Path, name: str) -> Recorder:
    """Seal the texts of those with an incident, keep hashes of one target, and nothing of another."""
    if name == PAUSED:
        return Recorder()
    keep = Keep.HASHES if name == CALM else Keep.ENCRYPTED
    return Recorder(store=TranscriptStore(folder / "transcripts", keep=keep, ring=Keyring([b"of the page"]), days=30))


def _worlds(folder: Path, clock: Clock) -> dict[str, World]:
    recipes = {
        WAITS: {"one-shot-subspace": PatchFailed(f"no gradient {HOSTILE}"), "restore-tuned": Ways(asr=0.5),
                "low-rank-sft": GOOD},
        ENDED: {"restore-tuned": Ways(utility=0.2)},
    }  # fmt: skip
    return {
        name: World(
            folder=folder / name, name=name, clock=clock, mode=Mode.PROPOSE, recipes=recipes.get(name, {"mend": GOOD}),
            containment=Containment.HOLD if name == ENDED else Containment.ROLL_BACK,
            rates=replace(RATES, p0=0.05, p1=0.3), prompts=240, recorder=_recorder(folder, name),
        )
        for name in (CALM, ENDED, PAUSED, WAITS)
    }  # fmt: skip


async def _drift(service: Service, world: World) -> None:
    """Serve a drifted release until its incident has ended or waits for a person."""
    world.deployer.serve(world.release("tuned-2026-11", DRIFTED))
    while not service.store.incidents(target=world.name, open_only=True):
        await service.tick(world.name)
    (incident,) = service.store.incidents(target=world.name, open_only=True)
    for _ in range(60):
        before = service.store.load(incident.id)
        world.clock.now += timedelta(seconds=20)
        after = await service.reconcile(incident.id)
        if after.closed or (after.version == before.version and after.attempt == 0):
            return
    raise AssertionError(f"{incident.id} goes nowhere")


async def made(folder: Path) -> Site:
    """Let everything happen that is to be seen."""
    clock = LiveClock(datetime.now(UTC) - timedelta(hours=5))
    worlds = _worlds(folder, clock)
    store = SqlStore(f"sqlite:///{folder}/s.db")
    service = Service(sites={n: w.amend(w.site(), store) for n, w in worlds.items()}, store=store, clock=clock)
    await service.prepare()
    for name in worlds:
        for _ in range(8):
            await service.tick(name)
    await _drift(service, worlds[ENDED])
    await _drift(service, worlds[WAITS])
    now = datetime.now(UTC)
    assert clock.now < now, "the story is longer than the time that is left for it"
    clock.now = now - timedelta(seconds=50)
    for name in (CALM, ENDED, WAITS):
        await service.tick(name)
    store.mark(CALM, f"{HOSTILE}@0123456789ab", good=False, at=clock())
    store.pause(Pause(target=PAUSED, until=now + timedelta(hours=3), by="anna", at=clock()))
    clock.live = True
    return Site(service=service, worlds=worlds)


@asynccontextmanager
async def page_site(folder: Path, *, port: int = 0, tokens: bool = True) -> AsyncIterator[Site]:
    """Serve it.

    Args:
        tokens: Whether calls need one; without, everybody on this machine may read.
    """
    site = await made(folder)
    scopes = {"read": (Scope.READ,), "operate": (Scope.READ, Scope.OPERATE), "approve": tuple(Scope)}
    site.tokens = {name: new_token() for name in scopes}
    known = tuple(
        TokenSettings(name=f"anna-{name}", sha256=digest_of(token), scopes=scopes[name])
        for name, token in site.tokens.items()
    )
    access = Access(
        tokens=known if tokens else (), open_to_read=not tokens, requests_per_minute=1e5, failures_per_minute=1e5
    )
    app = make_api(site.service, healthy=lambda: True, access=access, sweep=site.swept.append)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False, log_config=None)
    with socket.create_server(("127.0.0.1", port)) as listener:
        site.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            yield site
        finally:
            server.should_exit = True
            await serving
            await site.service.aclose()


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with page_site(Path(folder), port=9470) as site:
            print(site.url, *(f"{name}: {token}" for name, token in site.tokens.items()), sep="\n", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
