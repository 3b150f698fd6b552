"""One vLLM server without the plugin, behind a gateway that decides what the public name means.

It uses vLLM's own run-time LoRA routes, so it must be started with ``VLLM_ALLOW_RUNTIME_LORA_UPDATING`` and those
routes must be closed to users. Its served name is the base's release id: the public name exists in the gateway alone.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

import httpx

from deploy.checkpoint import Release
from deploy.errors import DeployerUnavailable, StageError
from deploy.steer import Steer
from deploy.vllm.answer import object_of
from deploy.vllm.ledger import Ledger
from deploy.vllm.replica import Client, ReplicaState, folder_as_seen

__all__ = ["PlainReplica"]

_MAX_LORA = re.compile(r'^vllm:lora_requests_info\{[^}]*max_lora="(\d+)"', re.MULTILINE)
_IN_FLIGHT = re.compile(r"^vllm:lora_requests_info\{([^}]*)\} (\S+)$", re.MULTILINE)
_ADAPTERS = re.compile(r'(?:running|waiting)_lora_adapters="([^"]*)"')


class PlainReplica:
    """Loads adapters on one server and has the gateway steered."""

    def __init__(
        self,
        url: str,
        *,
        http: Client,
        headers: dict[str, str],
        steer: Steer,
        ledger: Ledger,
        base: str,
        releases: str = "",
    ) -> None:
        """Take its base URL (``…/v1``), a client, headers with its API key, the gateway and the base's release id."""
        self.url = url.rstrip("/")
        self.domain = "gateway"
        self._http = http
        self._headers = headers
        self._steer = steer
        self._ledger = ledger
        self._base = base
        self._releases = releases

    async def state(self) -> ReplicaState:
        """Read what it serves: what the gateway means, if this server has it.

        Raises:
            DeployerUnavailable: It or the gateway does not answer, or it runs another base.
        """
        listed = (await self._call("GET", "/models")).get("data")
        names = [str(m.get("id")) for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
        if self._base not in names:
            raise DeployerUnavailable(
                f"server {self.url} serves {', '.join(names) or 'nothing'}, not {self._base}; start it with "
                f"--served-model-name {self._base}, or mend base"
            )
        aimed = await self._steer.aimed()
        page = await self._text("/metrics")
        said = _MAX_LORA.search(page)
        version = (await self._call("GET", "/version", beside=True)).get("version", "")
        return ReplicaState(
            active=aimed if aimed in names else "", base=self._base, up=tuple(n for n in names if "@" in n),
            fence=self._ledger.read().fence, loras_max=int(said[1]) if said else 0, vllm=str(version),
        )  # fmt: skip

    async def claim(self, holder: str) -> int:
        """Take over; vLLM keeps no fence, so the ledger does."""
        return await self._ledger.claim(holder, datetime.now(UTC).isoformat(timespec="seconds"))

    async def stage(self, release: Release, *, fence: int) -> None:
        """Load a release under its id and have it answer one token.

        Raises:
            StageError: vLLM refuses it, or it does not answer; it is unloaded then.
        """
        self._ledger.require(fence)
        if release.id not in (await self.state()).up:
            path = folder_as_seen(release, self._releases)
            await self._call("POST", "/load_lora_adapter", {"lora_name": release.id, "lora_path": path})
        try:
            await self._answer_one(release.id)
        except StageError:
            await self._unload(release.id)
            raise

    async def activate(self, release: Release, *, fence: int, expect: str) -> None:
        """Have the gateway send the public name's requests to this release.

        Raises:
            Fenced: Somebody took over.
            StageError: Another release is active than ``expect``, or this one does not answer.
        """
        await self._answer_one(release.id)
        async with self._ledger.locked():
            self._ledger.require(fence)
            if (aimed := await self._steer.aimed()) not in {expect, release.id}:
                raise StageError(f"the gateway sends requests to {aimed or 'nothing'}, not to {expect}; ask again")
            await self._steer.aim(release.id)

    async def retire(self, release: str, *, fence: int) -> None:
        """Unload a release that nothing is in flight on.

        Raises:
            StageError: It takes traffic, or still answers requests.
        """
        self._ledger.require(fence)
        if release == await self._steer.aimed():
            raise StageError(f"release {release} takes traffic; promote another one first")
        if release in _in_flight(await self._text("/metrics", needed="its metrics say what is in flight")):
            raise StageError(f"release {release} still answers requests on {self.url}; ask again")
        await self._unload(release)

    async def _unload(self, release: str) -> None:
        await self._call("POST", "/unload_lora_adapter", {"lora_name": release})

    async def _answer_one(self, release: str) -> None:
        asked = {"model": release, "prompt": "Hello", "max_tokens": 1, "temperature": 0, "logprobs": 1}
        said = await self._call("POST", "/completions", asked)
        try:
            (chosen,) = said["choices"][0]["logprobs"]["token_logprobs"]
        except (KeyError, IndexError, TypeError, ValueError):
            chosen = None
        if said.get("model") != release or not isinstance(chosen, float | int) or not math.isfinite(chosen):
            raise StageError(f"server {self.url}: {release} answers as {said.get('model')!r}, or with no number")

    async def _call(
        self, method: str, path: str, body: dict[str, object] | None = None, *, beside: bool = False
    ) -> dict[str, Any]:
        answer = await self._send(method, path, body, beside=beside)
        said = object_of(answer)
        if answer.status_code == httpx.codes.OK:
            return said
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise DeployerUnavailable(f"server {self.url} does not take the API key; mend api_key")
        if answer.status_code == httpx.codes.NOT_FOUND and path.endswith("_lora_adapter") and "error" not in said:
            raise StageError(
                f"server {self.url} loads no adapters at run time; start vLLM with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and close its admin routes to users (docs/howto/harden.md)"
            )
        why = said.get("error")
        message = why.get("message") if isinstance(why, dict) else why
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and not message:
            raise DeployerUnavailable(f"server {self.url} answers {answer.status_code}; look into its log")
        raise StageError(f"server {self.url}: {str(message or answer.status_code)[:500]}")

    async def _text(self, path: str, *, needed: str = "") -> str:
        answer = await self._send("GET", path, None, beside=True)
        if answer.status_code == httpx.codes.OK:
            return answer.text
        if needed:
            raise DeployerUnavailable(f"server {self.url} answers {answer.status_code} to {path}, and {needed}")
        return ""

    async def _send(
        self, method: str, path: str, body: dict[str, object] | None, *, beside: bool
    ) -> httpx.Response:
        root = self.url.removesuffix("/v1") if beside else self.url
        try:
            async with self._http() as http:
                return await http.request(method, f"{root}{path}", json=body, headers=self._headers)
        except httpx.HTTPError as error:
            raise DeployerUnavailable(
                f"server {self.url} does not answer ({type(error).__name__}); start it"
            ) from error


def _in_flight(page: str) -> set[str]:
    """Adapters that vLLM's metrics name as running or waiting; the sample with the latest time is the present one."""
    samples = [(float(at), labels) for labels, at in _IN_FLIGHT.findall(page)]
    if not samples:
        return set()
    latest = max(samples)[1]
    return {name for names in _ADAPTERS.findall(latest) for name in names.split(",") if name}
