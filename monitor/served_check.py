"""Proof of what is served: each server is asked for its canary, which is held against that of the release it names."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from deploy.canary import (
    Canary,
    difference,
    max_abs_diff,
    stored_canaries,
    take_canary,
    take_ranked_canary,
    write_canary,
)
from deploy.checkpoint import ReleaseKind, find_release
from deploy.deployer import Deployer, ServedRelease
from deploy.errors import CheckpointError, DeployerUnavailable, StageError
from deploy.offers import layering, reasserting

__all__ = ["Served", "ServedCheck", "check_served", "replica_of", "served_asker"]

_RELEASE_ID = re.compile(r"[^@\s]+@[0-9a-f]{12}")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCheck:
    """What it takes to prove what one target's servers hold.

    Attributes:
        releases: Release store; canaries are kept beside its folders.
        ask: Takes a server's canary: that of the texts themselves, or the ranked one.
    """

    releases: Path
    ask: Callable[[ServedRelease, bool], Awaitable[Canary]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one server was found to hold.

    Attributes:
        replica: Its host and port.
        kind: ``merged``, ``adapter``, or ``unknown`` where the release is not in the store.
        mismatch: Why it is not the release that it is said to be; ``""`` where nothing says so.
        unproved: Why nothing could be said; ``""`` where its canary is the release's own.
        log_probability_difference: Largest difference from the release's canary, in nats; ``None`` where unproved.
    """

    release: str
    replica: str
    kind: str
    takes_traffic: bool
    mismatch: str = ""
    unproved: str = ""
    log_probability_difference: float | None = None
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "at": self.at.isoformat()}


async def check_served(check: ServedCheck, deployer: Deployer, *, clock: Callable[[], datetime]) -> tuple[Served, ...]:
    """Ask every server that is up, each of several that serve as one.

    Raises:
        DeployerUnavailable: The serving side does not answer.
        StageError: It does not say what it serves.
    """
    found: list[Served] = []
    ranked = layering(deployer) is not None
    for served in (await deployer.state()).up:
        for endpoint in (served.endpoint, *served.also_at):
            seen = await _one(check, replace(served, endpoint=endpoint), clock(), ranked=ranked)
            if seen.mismatch and served not in (await deployer.state()).up:
                seen = replace(seen, mismatch="", unproved="what is served was changed meanwhile")
            found.append(seen)
    if (returns := reasserting(deployer)) and (lost := await returns.lost()) and (wanted := await returns.wanted()):
        kind = await asyncio.to_thread(_kind, check.releases, wanted.name)
        found += (
            Served(
                release=wanted.name, replica=replica_of(endpoint), kind=kind, takes_traffic=True,
                mismatch="it does not serve the release that is wanted", at=clock(),
            )
            for endpoint in lost
        )  # fmt: skip
    return tuple(found)


async def _one(check: ServedCheck, served: ServedRelease, now: datetime, *, ranked: bool) -> Served:
    kind = await asyncio.to_thread(_kind, check.releases, served.release)
    known = Served(
        release=served.release, replica=replica_of(served.endpoint), kind=kind, takes_traffic=served.takes_traffic,
        at=now,
    )  # fmt: skip
    try:
        seen = await check.ask(served, ranked)
        stored = await asyncio.to_thread(stored_canaries, check.releases, served.release)
        kept = [c for c in stored if c.ranked == seen.ranked]
        if kind != ReleaseKind.ADAPTER and _names_another(seen, served):
            return replace(known, mismatch=f"its answers name {seen.fingerprint}")
        if not kept:
            return replace(known, unproved=await asyncio.to_thread(_first_sight, check, seen, kind))
    except (CheckpointError, DeployerUnavailable, StageError) as error:
        return replace(known, unproved=str(error))
    nearest = min(kept, key=lambda c: max_abs_diff(seen, c))
    far = max_abs_diff(seen, nearest)
    why = difference(replace(seen, dtype=nearest.dtype), nearest)
    return replace(known, mismatch=why, log_probability_difference=far if math.isfinite(far) else None)


def _first_sight(check: ServedCheck, seen: Canary, kind: str) -> str:
    """Keep the first canary of a release of the store: its server checked the files when it started."""
    if kind == UNKNOWN:
        return "its release is not in the release store"
    write_canary(check.releases, seen)
    return "its first canary was kept; the next one is held against it"


def _names_another(seen: Canary, served: ServedRelease) -> bool:
    return bool(_RELEASE_ID.fullmatch(seen.fingerprint)) and seen.fingerprint != served.release


def _kind(releases: Path, release: str) -> str:
    try:
        return find_release(releases, release).manifest.kind.value
    except CheckpointError:
        return UNKNOWN


def replica_of(endpoint: str) -> str:
    """Return an endpoint's host and port: what tells replicas apart in metrics."""
    return urlsplit(endpoint).netloc.rpartition("@")[2]


def served_asker(model: str, api_key: str) -> Callable[[ServedRelease, bool], Awaitable[Canary]]:
    """Return what asks a server for its canary, by its own address and never through a balancer.

    Args:
        model: Public model name.
        api_key: Key for the endpoint; empty for none.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    trusted = ssl.create_default_context()  # once: it reads all certificates

    async def ask(served: ServedRelease, ranked: bool) -> Canary:
        async with httpx.AsyncClient(
            base_url=served.endpoint, headers=headers, trust_env=False, verify=trusted
        ) as http:
            take = take_ranked_canary if ranked else take_canary
            return await take(http, model=served.model or model, release=served.release)

    return ask
