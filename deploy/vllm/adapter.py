"""Deployer ``vllm-adapter``: LoRA releases on running vLLM servers, without a restart.

Each server is asked by its own address. The public name is steered by the alignd plugin inside vLLM, or by a gateway in
front of it. The base release is promoted like any other: it means no adapter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import httpx

from deploy.adapter import check_adapter
from deploy.checkpoint import Release, ReleaseKind, read_release, verify_release
from deploy.deployer import DeploymentState, ServedRelease
from deploy.errors import CheckpointError, DeployError, DeployerUnavailable, StageError
from deploy.vllm.adapter_options import Options
from deploy.vllm.adapter_preflight import adapter_fault
from deploy.vllm.gateways import make_steer
from deploy.vllm.ledger import Ledger
from deploy.vllm.plain_replica import PlainReplica
from deploy.vllm.replica import Replica, ReplicaState

__all__ = ["Options", "ReplicaPort", "VllmAdapterDeployer", "make"]

log = logging.getLogger("alignd.deploy")


class ReplicaPort(Protocol):
    """One server: with the plugin, or behind a gateway."""

    url: str
    domain: str
    """Where its fence is counted: servers that share one are taken over together."""

    async def state(self) -> ReplicaState:
        """Read what it serves."""
        ...

    async def claim(self, holder: str) -> int:
        """Take over."""
        ...

    async def stage(self, release: Release, *, fence: int) -> None:
        """Load a release without traffic."""
        ...

    async def activate(self, release: Release, *, fence: int, expect: str) -> None:
        """Give a release the public name."""
        ...

    async def retire(self, release: str, *, fence: int) -> None:
        """Unload a release."""
        ...


class VllmAdapterDeployer:
    """Does each verb on every server, or leaves every server as it was."""

    def __init__(self, replicas: Sequence[ReplicaPort], *, ledger: Ledger, fence: Literal["claim", "borrow"]) -> None:
        """Take the servers, where what is wanted is written down, and how to act beside others."""
        self._replicas = tuple(replicas)
        self._ledger = ledger
        self._claims = fence == "claim"
        self._fences: dict[str, int] = {}
        self._lock = asyncio.Lock()

    async def state(self) -> DeploymentState:
        """Read what every server serves. A release is up, or active, where it is on all of them."""
        return self._joined(await self._read())

    async def stage(self, release: Release) -> ServedRelease:
        """Load a release on every server, without traffic."""
        async with self._lock:
            states = await self._preflight(release)
            await self._stage(release, states)
            return _served(self._joined(await self._read()), release.id)

    async def promote(self, release: Release) -> ServedRelease:
        """Give a release the public name on every server; where one refuses, those before it are put back.

        Where one is away, the others get it all the same if they have it loaded: to go back must not wait for a server
        that is down. That one gets it when it is back, and until then ``DeployerUnavailable`` says so.
        """
        async with self._lock:
            return await self._promote(release)

    async def retire(self, release: str) -> None:
        """Unload a release on every server; the base stays, adapters stand on it."""
        async with self._lock:
            states = await self._read()
            for replica, state in zip(self._replicas, states, strict=True):
                if release and state.active == release:
                    raise StageError(f"release {release} takes traffic on {replica.url}; promote another one first")
            for replica, state in zip(self._replicas, states, strict=True):
                if release in state.up and release != state.base:
                    await replica.retire(release, fence=await self._fence(replica, state))

    async def base_of_adapters(self) -> str:
        """Return the release under the adapters."""
        bases = {r.url: s.base for r, s in zip(self._replicas, await self._read(), strict=True)}
        if len(set(bases.values())) > 1:
            told = ", ".join(f"{url}: {base}" for url, base in bases.items())
            raise DeployerUnavailable(f"servers run different bases ({told}); start all of them on one")
        return next(iter(bases.values()))

    async def rank_max(self) -> int:
        """Return the highest rank that every server takes; 0 where none says."""
        return min((s.lora_rank_max for s in await self._read() if s.lora_rank_max), default=0)

    async def wanted(self) -> Path | None:
        """Return the folder of the release that is to take traffic."""
        entry = await asyncio.to_thread(self._ledger.read)
        return Path(entry.path) if entry.desired else None

    async def lost(self) -> tuple[str, ...]:
        """Return the addresses of servers that were restarted, or left behind by a change, and serve something else."""
        async with self._lock:
            return self._lost(await self._read())

    async def reassert(self) -> tuple[str, ...]:
        """Bring every server back to what is wanted, where one lost it."""
        async with self._lock:
            wanted = self._ledger.read()
            if lost := self._lost(await self._read()):
                log.warning("reasserting", extra={"release": wanted.desired, "replicas": list(lost)})
                await self._promote(read_release(Path(wanted.path)))
            return lost

    def _lost(self, states: Sequence[ReplicaState]) -> tuple[str, ...]:
        """Say which servers lost what is wanted; all of them on another one, with it at hand, is a person's will."""
        wanted = self._ledger.read().desired
        agree = len({s.active for s in states}) == 1
        return tuple(
            r.url
            for r, s in zip(self._replicas, states, strict=True)
            if wanted and s.active != wanted and not (agree and s.active and wanted in s.up)
        )

    async def _promote(self, release: Release) -> ServedRelease:
        try:
            states = await self._preflight(release)
        except DeployerUnavailable as error:
            if there := await self._promote_where_loaded(release):
                where = ", ".join(there)
                raise DeployerUnavailable(f"release {release.id} is in service on {where} only: {error}") from error
            raise
        await self._stage(release, states)
        before = self._ledger.read()
        await self._ledger.want(release.id, release.path)
        done: list[tuple[ReplicaPort, str]] = []
        try:
            for replica, state in zip(self._replicas, states, strict=True):
                if state.active != release.id:
                    fence = await self._fence(replica, state)
                    await replica.activate(release, fence=fence, expect=state.active)
                    done.append((replica, state.active))
        except (CheckpointError, StageError):
            await self._undo(done, release.id)
            await self._ledger.want(before.desired, Path(before.path))
            raise
        if done:
            log.info("promoted", extra={"release": release.id, "replicas": [r.url for r, _ in done]})
        return _served(self._joined(await self._read()), release.id)

    async def _promote_where_loaded(self, release: Release) -> list[str]:
        """Give a release the public name on the servers that answer, if all of these have it; return which."""
        states = await asyncio.gather(*(r.state() for r in self._replicas), return_exceptions=True)
        there = [(r, s) for r, s in zip(self._replicas, states, strict=True) if isinstance(s, ReplicaState)]
        if not there or any(release.id not in s.up for _, s in there):
            return []
        await self._ledger.want(release.id, release.path)
        for replica, state in there:
            if state.active != release.id:
                await replica.activate(release, fence=await self._fence(replica, state), expect=state.active)
                log.warning("promoted_in_part", extra={"release": release.id, "replica": replica.url})
        return [r.url for r, _ in there]

    async def _read(self) -> list[ReplicaState]:
        return list(await asyncio.gather(*(r.state() for r in self._replicas)))

    def _joined(self, states: Sequence[ReplicaState]) -> DeploymentState:
        first, rest = states[0], states[1:]
        active = first.active if all(s.active == first.active for s in rest) else ""
        others = tuple(r.url for r in self._replicas[1:])
        up = tuple(
            ServedRelease(release=r, endpoint=self._replicas[0].url, model=r, takes_traffic=r == active, also_at=others)
            for r in first.up
            if all(r in s.up for s in rest)
        )
        return DeploymentState(active=active if any(s.release == active for s in up) else "", up=up)

    async def _preflight(self, release: Release) -> list[ReplicaState]:
        """Refuse what a server could not serve, before any of them is touched."""
        await asyncio.to_thread(verify_release, release)
        states = await self._read()
        adapter = release.manifest.kind is ReleaseKind.ADAPTER
        rank = check_adapter(release.path).rank if adapter else 0
        for replica, state in zip(self._replicas, states, strict=True):
            if fault := adapter_fault(release, state, rank=rank):
                raise StageError(f"release {release.id}, server {replica.url}: {fault}")
        return states

    async def _stage(self, release: Release, states: Sequence[ReplicaState]) -> None:
        for replica, state in zip(self._replicas, states, strict=True):
            if release.id not in state.up:
                await replica.stage(release, fence=await self._fence(replica, state))

    async def _undo(self, done: Sequence[tuple[ReplicaPort, str]], release: str) -> None:
        """Put servers back to what they served, as far as they let us."""
        for replica, before in done:
            if not before:
                continue
            try:
                found = self._release_of(before)
                await replica.activate(found, fence=self._fences[replica.domain], expect=release)
            except DeployError as error:
                log.warning("not_put_back", extra={"replica": replica.url, "release": before, "why": str(error)})

    def _release_of(self, release: str) -> Release:
        store = Path(self._ledger.read().path).parent
        return read_release(store / release)

    async def _fence(self, replica: ReplicaPort, state: ReplicaState) -> int:
        if not self._claims:
            self._fences[replica.domain] = state.fence
        elif replica.domain not in self._fences:
            self._fences[replica.domain] = await replica.claim(f"{socket.gethostname()}:{os.getpid()}")
        return self._fences[replica.domain]


def _served(state: DeploymentState, release: str) -> ServedRelease:
    found = state.find(release)
    if found is None:
        raise DeployerUnavailable(f"release {release} is gone from a server, which may have restarted; ask again")
    return found


def make(options: Options) -> VllmAdapterDeployer:
    """Make the deployer of its options."""
    key = options.api_key.get_secret_value() if options.api_key else ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    ledger = Ledger(options.state_file)

    trusted = ssl.create_default_context()  # once: it reads all certificates, and a flip makes several calls

    def http() -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=options.timeout_seconds, verify=trusted, trust_env=False)

    if options.gateway is None:
        token = partial(_token, options)
        replicas: list[ReplicaPort] = [
            Replica(url, http=http, headers=headers, token=token, releases=options.releases_at)
            for url in options.replicas
        ]
    else:
        steer = make_steer(options.gateway, http=http)
        replicas = [
            PlainReplica(
                url, http=http, headers=headers, steer=steer, ledger=ledger, base=options.base,
                releases=options.releases_at,
            )
            for url in options.replicas
        ]  # fmt: skip
    return VllmAdapterDeployer(replicas, ledger=ledger, fence=options.fence)


def _token(options: Options) -> str:
    try:
        token = options.token_file.read_text(encoding="ascii").strip() if options.token_file else ""
    except (OSError, ValueError) as error:
        raise DeployerUnavailable(
            f"no token at {options.token_file}; start vLLM with the alignd plugin, or mend token_file"
        ) from error
    if not token.isprintable():
        raise DeployerUnavailable(f"{options.token_file} holds no token; mend token_file")
    return token
