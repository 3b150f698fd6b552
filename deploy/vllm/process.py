"""Deployer ``vllm-process``: asks a supervisor on this host to change what is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field

from deploy.checkpoint import Release
from deploy.deployer import DeploymentState, ServedRelease
from deploy.errors import CheckpointError, DeployerUnavailable, StageError

__all__ = ["Options", "VllmProcessDeployer", "make"]


class Options(BaseModel):
    """How to reach the supervisor that ``alignd serve`` runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    admin_url: str = Field(default="http://127.0.0.1:8001", pattern=r"^https?://")
    """Base URL of its admin port."""
    token_file: Path
    """``admin-token`` in its state folder."""
    timeout_seconds: float = Field(default=660.0, gt=0)
    """For one verb; staging waits until the server is ready."""


class VllmProcessDeployer:
    """Translates the port's verbs into the supervisor's calls, and its errors into ours."""

    def __init__(self, options: Options) -> None:
        """Take how to reach the supervisor."""
        self._options = options

    async def state(self) -> DeploymentState:
        """Read what is served now."""
        state = await self._call("GET", "/state")
        return DeploymentState(active=state["active"], up=tuple(ServedRelease(**s) for s in state["up"]))

    async def stage(self, release: Release) -> ServedRelease:
        """Bring a release up without traffic."""
        return ServedRelease(**await self._call("POST", "/stage", release.id))

    async def promote(self, release: Release) -> ServedRelease:
        """Give a release all new traffic."""
        return ServedRelease(**await self._call("POST", "/promote", release.id))

    async def retire(self, release: str) -> None:
        """Drain and stop a release that takes no traffic."""
        await self._call("POST", "/retire", release)

    async def _call(self, method: str, path: str, release: str = "") -> dict[str, Any]:
        where = f"supervisor at {self._options.admin_url}"
        try:
            token = self._options.token_file.read_text().strip()
            async with httpx.AsyncClient(timeout=self._options.timeout_seconds) as http:
                answer = await http.request(
                    method,
                    self._options.admin_url.rstrip("/") + path,
                    json={"release": release} if method == "POST" else None,
                    headers={"Authorization": f"Bearer {token}"},
                )
                said: dict[str, Any] = answer.json()
        except FileNotFoundError as error:
            raise DeployerUnavailable(
                f"{where}: no token at {self._options.token_file}; start `alignd serve` or mend token_file"
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise DeployerUnavailable(
                f"{where} does not answer ({type(error).__name__}); start `alignd serve`"
            ) from error
        if answer.status_code == httpx.codes.OK:
            return said
        message = str(said.get("message", answer.status_code))
        if said.get("error") == "checkpoint":
            raise CheckpointError(message)
        if said.get("error") == "stage":
            raise StageError(message)
        if said.get("error") == "front":
            raise DeployerUnavailable(message)
        raise DeployerUnavailable(f"{where}: {message}; check token_file and the supervisor's log")


def make(options: Options) -> VllmProcessDeployer:
    """Make the deployer of its options."""
    return VllmProcessDeployer(options)
