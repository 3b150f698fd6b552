"""What a sweep costs the users of the server it probes: their time to first token with it over without.

Users send steady traffic at half of what the server can do. Three phases alternate in each round, in another order
each time: nobody probes, a sweep in contract mode, an uncontrolled client. The times of all rounds are pooled.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from probes.window import Rules
from tests.benchmarks.sweep_clients import CONCURRENCY, idle, sweep_on
from tests.benchmarks.sweep_figures import added_ratio, bootstrap, percentile
from tests.benchmarks.sweep_server import Server
from tests.benchmarks.sweep_users import TOKENS, capacity, steady

__all__ = ["Client", "Count", "measure"]

Count = Callable[[], None]
"""Called with each probe that is answered and judged."""
Client = Callable[[str, Count], Awaitable[None]]
"""Probes the endpoint until it is cancelled."""

_USERS_FIRST_SECONDS = 6.0
"""Their process starts, and the server is in the midst of them, before anybody probes."""
_WARM_UP = 64
_SHARE = 0.5
"""Of the server's capacity: the share that users take."""


@dataclass(slots=True)
class _Phase:
    """What one kind of phase gave in all rounds; ``counted`` are the probes that ended while users were there."""

    ttft: list[float] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0
    probes: int = 0
    counted: int = 0

    def __call__(self) -> None:
        self.probes += 1

    def figures(self) -> dict[str, float | int]:
        return {
            "user_requests": len(self.ttft),
            "user_requests_failed": self.failed,
            "p50_ttft_seconds": percentile(self.ttft, 0.5),
            "p99_ttft_seconds": percentile(self.ttft, 0.99),
            "probes_per_minute": 60 * self.counted / self.seconds,
        }


async def nobody(_endpoint: str, _count: Count) -> None:
    """Probe nothing."""
    await asyncio.Event().wait()


async def contract(endpoint: str, count: Count) -> None:
    """Probe as the daemon does: behind every user, and only as fast as the server has slack."""
    rules = Rules(concurrency=8)
    await sweep_on(endpoint, count, concurrency=rules.concurrency, priority=1_000_000, rules=rules)


async def uncontrolled(endpoint: str, count: Count) -> None:
    """Probe as any other client does: as fast as it can, with the users' own priority."""
    await sweep_on(endpoint, count, concurrency=CONCURRENCY, priority=0)


CLIENTS: dict[str, Client] = {"without": nobody, "contract": contract, "uncontrolled": uncontrolled}


async def measure(server: Server, *, requests: int, rounds: int) -> dict[str, Any]:
    """Run all phases.

    Args:
        requests: Of users, in each kind of phase, over all rounds.

    Returns:
        The two added ratios with 95 % bootstrap intervals, and each kind of phase's own figures.
    """
    await capacity(server.endpoint, n=_WARM_UP)
    able = await capacity(server.endpoint, n=4 * _WARM_UP)
    rate, each = _SHARE * able, -(-requests // rounds)
    print(f"gentleness: capacity {able:.2f} requests a second, users send {rate:.2f}", file=sys.stderr, flush=True)
    phases = {name: _Phase() for name in CLIENTS}
    names = list(CLIENTS)
    for i in range(rounds):
        for name in names[i % 3 :] + names[: i % 3]:
            await _run(server, CLIENTS[name], phases[name], rate=rate, n=each, seed=i)
    without = phases["without"].ttft
    added = {name: added_ratio(phases[name].ttft, without) for name in ("contract", "uncontrolled")}
    return {
        "added": added,
        "intervals": {name: bootstrap(phases[name].ttft, without) for name in added},
        "capacity_requests_per_second": able,
        "users_requests_per_second": rate,
        "users_max_tokens": TOKENS,
        "rounds": rounds,
        "phases": {name: phase.figures() for name, phase in phases.items()},
    }


async def _run(server: Server, client: Client, phase: _Phase, *, rate: float, n: int, seed: int) -> None:
    """One phase: users come as in the round's other phases, and the client comes to them."""
    await idle(server.endpoint)
    users = asyncio.ensure_future(steady(server.endpoint, rate=rate, n=n, seed=seed))
    await asyncio.sleep(_USERS_FIRST_SECONDS)
    probing = asyncio.ensure_future(client(server.endpoint, phase))
    try:
        traffic = await users
        phase.counted = phase.probes
    finally:
        users.cancel()
        probing.cancel()
        with suppress(asyncio.CancelledError):
            await probing
    phase.ttft.extend(traffic.ttft_seconds)
    phase.failed += traffic.failed
    phase.seconds += traffic.seconds
