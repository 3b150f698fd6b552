"""One vLLM server with the alignd plugin: its routes as calls, its refusals as our errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.checkpoint import Release
from deploy.errors import CheckpointError, DeployerUnavailable, Fenced, StageError
from deploy.vllm.answer import object_of

__all__ = ["Client", "Replica", "ReplicaState", "folder_as_seen"]

Client = Callable[[], httpx.AsyncClient]
"""Makes a client for one call: a deployer is used from more than one event loop."""

_TOKEN_HEADER = "X-Alignd-Token"  # noqa: S105  (the header's name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What one server serves.

    Attributes:
        active: Release that the public name means on it; ``""`` while nothing may answer for it.
        base: Release that it runs, under its adapters.
        up: Releases that answer by their own id, the base among them.
        fence: Number of the last takeover.
        lora_rank_max: Highest rank that it takes; 0 where it does not say.
        loras_max: Adapters that it computes side by side; 0 where it does not say.
        vllm: Its version.
    """

    active: str
    base: str
    up: tuple[str, ...]
    fence: int = 0
    lora_rank_max: int = 0
    loras_max: int = 0
    vllm: str = ""


class Replica:
    """Calls the plugin of one server. A replica is asked by its own address, never through a balancer."""

    def __init__(
        self, url: str, *, http: Client, headers: dict[str, str], token: Callable[[], str], releases: str = ""
    ) -> None:
        """Take its base URL (``…/v1``), how to make a client, headers with its API key, and the plugin's token.

        Args:
            releases: The release store as the server sees it; ``""``: as here.
        """
        self.url = self.domain = url.rstrip("/")
        self._http = http
        self._headers = headers
        self._token = token
        self._releases = releases

    async def state(self) -> ReplicaState:
        """Read what it serves.

        Raises:
            DeployerUnavailable: It does not answer, has no plugin, or does not take the key or the token.
        """
        said = await self._call("GET", "state")
        try:
            return ReplicaState(
                active=str(said["active"]), base=str(said["base"]), up=tuple(str(r) for r in said["up"]),
                fence=int(said["fence"]), lora_rank_max=int(said["max_lora_rank"]), loras_max=int(said["max_loras"]),
                vllm=str(said["vllm"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise self._unavailable(f"answers with no state of the plugin ({error!r}); update alignd-vllm") from error

    async def claim(self, holder: str) -> int:
        """Take over, and return the fence that changes are to carry."""
        said = await self._call("POST", "claim", {"holder": holder})
        try:
            return int(said["fence"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._unavailable(f"gives no fence ({error!r}); update alignd-vllm") from error

    async def stage(self, release: Release, *, fence: int) -> None:
        """Load a release without traffic."""
        await self._call("POST", "stage", {**self._folder(release), "fence": fence})

    async def activate(self, release: Release, *, fence: int, expect: str) -> None:
        """Give a release the public name, if ``expect`` has it now."""
        await self._call("POST", "activate", {**self._folder(release), "fence": fence, "expect": expect})

    async def rollback(self, *, fence: int, expect: str) -> None:
        """Give the public name to the release before, if ``expect`` has it now."""
        await self._call("POST", "rollback", {"fence": fence, "expect": expect})

    async def retire(self, release: str, *, fence: int) -> None:
        """Unload a release."""
        await self._call("POST", "retire", {"release": release, "fence": fence})

    def _folder(self, release: Release) -> dict[str, object]:
        path = folder_as_seen(release, self._releases)
        return {"release": release.id, "path": path, "sha256": release.manifest.digest}

    async def _call(self, method: str, verb: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        try:
            headers = {**self._headers, _TOKEN_HEADER: self._token()}
            async with self._http() as http:
                answer = await http.request(method, f"{self.url}/alignd/{verb}", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._unavailable(f"does not answer ({type(error).__name__}); start it") from error
        said = object_of(answer)
        if answer.status_code == httpx.codes.OK:
            return said
        why, message = said.get("error"), f"server {self.url}: {said.get('message', answer.status_code)}"
        if why == "fenced":
            raise Fenced(message)
        if why == "checkpoint":
            raise CheckpointError(message)
        if why in {"stage", "expect", "request"}:
            raise StageError(message)
        if why == "token":
            raise self._unavailable("does not take the plugin's token; mend token_file")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise self._unavailable("does not take the API key; mend api_key")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise self._unavailable("has no alignd plugin; install alignd-vllm and start vLLM with VLLM_PLUGINS=alignd")
        raise self._unavailable(f"answers {answer.status_code}: {said.get('message', 'no reason')}; look into its log")

    def _unavailable(self, what: str) -> DeployerUnavailable:
        return DeployerUnavailable(f"server {self.url} {what}")


def folder_as_seen(release: Release, releases: str) -> str:
    """Return the absolute path of a release as a server sees it, which may have the store elsewhere."""
    return f"{releases.rstrip('/')}/{release.id}" if releases else str(release.path.resolve())
