"""Client of one vLLM server that changes its weights in place: the door before it and its dev-mode routes.

Success over HTTP says that a call was taken, not what the server computes with now; ``canary`` tells that.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.canary import Canary, take_canary
from deploy.errors import DeployerUnavailable, Fenced, StageError
from deploy.vllm.answer import object_of
from deploy.vllm.hold import FENCE_HEADER, TOKEN_HEADER

__all__ = ["Described", "Door", "Replica", "replica"]

_READ_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the door before a server says.

    Attributes:
        held: Whether users wait.
        waiting: Requests that wait.
        running: Users' requests that are being answered.
        fingerprint: Release that every answer names.
        fence: The newest fence.
        holder: Who claimed it.
    """

    held: bool
    waiting: int
    running: int
    fingerprint: str
    fence: int
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a server computes with, and its version (``vllm 0.32.0``)."""

    model: str
    dtype: str
    quantization: str
    speculative: bool
    server: str


class Replica:
    """One server; made by ``replica``. Every call has its own time limit, in seconds."""

    def __init__(self, http: httpx.AsyncClient, *, model: str) -> None:
        """Take a client that shows the token, and the served model name."""
        self._http = http
        self._model = model

    @property
    def endpoint(self) -> str:
        """OpenAI-compatible base URL."""
        return f"{str(self._http.base_url).rstrip('/')}/v1"

    async def door(self) -> Door:
        """Read the door's state."""
        said = await self._call("GET", "/alignd/hold", seconds=_READ_SECONDS)
        try:
            return Door(**said)
        except TypeError as error:
            raise StageError(f"{self._where}: its door says what no door says; restart it with this version") from error

    async def claim(self, holder: str) -> int:
        """Take the server over: who holds an older fence is refused from now on. Returns the new one."""
        said = await self._call("POST", "/alignd/claim", {"holder": holder}, seconds=_READ_SECONDS)
        return int(said["fence"])

    def act_with(self, fence: int) -> None:
        """Act with a fence that was claimed before."""
        self._http.headers[FENCE_HEADER] = str(fence)

    async def hold(self, seconds: float) -> None:
        """Let users' new requests wait; after these seconds they get 503 instead."""
        await self._call("POST", "/alignd/hold", {"seconds": seconds}, seconds=_READ_SECONDS)

    async def release(self) -> None:
        """Let users in."""
        await self._call("POST", "/alignd/release", {}, seconds=_READ_SECONDS)

    async def name(self, release: str) -> None:
        """Have every answer name a release, and the engine too."""
        await self._call("POST", "/update_weight_version", {"new_version": release}, seconds=_READ_SECONDS)
        await self._call("POST", "/alignd/name", {"fingerprint": release}, seconds=_READ_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Wait until no user's request is being answered, then stop the engine when it is idle.

        Raises:
            StageError: Some request takes longer.
        """
        end = time.monotonic() + seconds
        while running := (await self.door()).running:
            if time.monotonic() > end:
                raise StageError(
                    f"{self._where}: {running} requests were still being answered after {seconds:g} s; ask again when "
                    "it is less busy, or set drain_seconds higher"
                )
            await asyncio.sleep(_POLL_SECONDS)
        await self._call("POST", "/pause?mode=wait", seconds=max(end - time.monotonic(), _READ_SECONDS))

    async def resume(self) -> None:
        """Let the engine go on."""
        await self._call("POST", "/resume", seconds=_READ_SECONDS)

    async def reload(self, path: str, *, seconds: float) -> None:
        """Load new weights in place."""
        body = {"method": "alignd_reload", "kwargs": {"weights_path": path}, "timeout": seconds}
        await self._call("POST", "/collective_rpc", body, seconds=seconds)

    async def clear_cache(self, *, seconds: float) -> None:
        """Forget what was computed with the weights before; asks until the server says that it did.

        Raises:
            StageError: It did not in time.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = await self._call("POST", "/reset_prefix_cache", seconds=_READ_SECONDS)
            if said.get("success") is True:
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise StageError(f"{self._where}: its prefix cache was not cleared in {seconds:g} s")

    async def describe(self) -> Described:
        """Read what the server computes with.

        Raises:
            StageError: It was started without ``ReloadWorker``.
        """
        try:
            said = await self._call("POST", "/collective_rpc", {"method": "alignd_describe"}, seconds=_READ_SECONDS)
            version = await self._call("GET", "/version", seconds=_READ_SECONDS)
            return Described(**said["results"][0], server=f"vllm {version['version']}")
        except (StageError, KeyError, IndexError, TypeError) as error:
            if isinstance(error, Fenced):
                raise
            raise StageError(
                f"{self._where}: it can't change weights in place; start it with `python -m deploy.vllm.reload_server`"
            ) from error

    async def canary(self, release: str, *, dtype: str, server: str) -> Canary:
        """Take the server's canary as that of a release."""
        return await take_canary(
            self._http, model=self._model, release=release, dtype=dtype, server=server, path="/v1/completions"
        )

    @property
    def _where(self) -> str:
        return f"server at {str(self._http.base_url).rstrip('/')}"

    async def _call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, seconds: float
    ) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, json=body, timeout=seconds)
        except httpx.HTTPError as error:
            raise DeployerUnavailable(
                f"{self._where}: no answer to {path} in {seconds:g} s ({type(error).__name__}); is it up?"
            ) from error
        said = object_of(answer)
        if answer.status_code == httpx.codes.OK:
            return said
        if said.get("error") == "fenced":
            raise Fenced(f"{self._where}: {said.get('message')}; stop one of the two, or act with fence: borrow")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise StageError(
                f"{self._where}: no {path}; start it with `python -m deploy.vllm.reload_server`, and give its state"
            )
        why = f": {said['message']}" if said.get("message") else "; look at its log"
        raise StageError(f"{self._where}: {path} failed with status {answer.status_code}{why}")


@asynccontextmanager
async def replica(url: str, *, model: str, token: str, api_key: str = "") -> AsyncIterator[Replica]:
    """Give a client of the server at a base URL, without ``/v1``; its token never goes through a proxy."""
    headers = {TOKEN_HEADER: token, **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; reading all trusted roots takes 0.1 s
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_READ_SECONDS, trust_env=False, verify=no_tls
    ) as http:
        yield Replica(http, model=model)
