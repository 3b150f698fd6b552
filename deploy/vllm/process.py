"""Deployer ``vllm-process``: asks a supervisor on this host to change what is served."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field

from deploy.checkpoint import Release
from deploy.deployer import DeploymentState, Quarantine, ServedRelease
from deploy.errors import CheckpointError, DeployerUnavailable, Fenced, StageError, StoreInUse
from deploy.record import PromotionRecord
from deploy.vllm.answer import object_of

__all__ = ["Options", "VllmProcessDeployer", "make"]

_REFUSALS = {
    "checkpoint": CheckpointError, "stage": StageError, "fenced": Fenced, "busy": StoreInUse,
    "front": DeployerUnavailable,
}  # fmt: skip


class Options(BaseModel):
    """How to reach the supervisor that ``alignd serve`` runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    admin_url: str = Field(default="http://127.0.0.1:8001", pattern=r"^https?://")
    """Base URL of its admin port."""
    token_file: Path
    """``admin-token`` in its state folder."""
    timeout_seconds: float = Field(default=660.0, gt=0)
    """For one verb; staging waits until the server is ready."""
    fence: Literal["claim", "borrow"] = "claim"
    """claim: take over at the first change, so that an earlier daemon can change nothing any more; borrow: act in the
    name of whoever did, as a person at the command line does."""


class VllmProcessDeployer:
    """Translates the port's verbs into the supervisor's calls, and its errors into ours."""

    def __init__(self, options: Options) -> None:
        """Take how to reach the supervisor; nothing is claimed before the first change."""
        self._options = options
        self._claimed: int | None = None
        self._claiming = asyncio.Lock()

    async def state(self) -> DeploymentState:
        """Read what is served now."""
        state = await self._call("GET", "/state")
        with self._understood():
            why, desired = str(state.get("withheld", "")), str(state.get("desired", ""))
            return DeploymentState(
                active=str(state["active"]), up=tuple(ServedRelease(**s) for s in state["up"]),
                quarantine=Quarantine(why=why, release=desired) if why else None,
            )  # fmt: skip

    async def record(self) -> PromotionRecord:
        """Read what is to be served, and what was served before."""
        state = await self._call("GET", "/state")
        with self._understood():
            return PromotionRecord.from_json({**state, "active": state["desired"]})

    async def stage(self, release: Release) -> ServedRelease:
        """Bring a release up without traffic."""
        return await self._changed("/stage", release.id)

    async def promote(self, release: Release) -> ServedRelease:
        """Give a release all new traffic."""
        return await self._changed("/promote", release.id)

    async def renew(self, release: Release) -> ServedRelease:
        """Serve the release that takes traffic from a new process."""
        return await self._changed("/renew", release.id)

    async def roll_back(self) -> ServedRelease:
        """Give the traffic back to the nearest earlier release that comes up.

        Raises:
            StageError: There is none.
        """
        return await self._changed("/roll-back", "")

    async def quarantine(self, why: str) -> None:
        """Answer nobody until the next promotion."""
        await self._call("POST", "/quarantine", {"why": why, "fence": await self._fence()})

    async def lift(self) -> None:
        """Give users the desired release again."""
        await self._call("POST", "/lift", {"fence": await self._fence()})

    async def retire(self, release: str) -> None:
        """Drain and stop a release that takes no traffic."""
        await self._change("/retire", release)

    async def _changed(self, path: str, release: str) -> ServedRelease:
        said = await self._change(path, release)
        with self._understood():
            return ServedRelease(**said)

    async def _change(self, path: str, release: str) -> dict[str, Any]:
        """Ask for a change.

        Raises:
            Fenced: Another deployer has taken over since this one did. This one does not take over again by itself:
                two would fight without end.
        """
        return await self._call("POST", path, {"release": release, "fence": await self._fence()})

    async def _fence(self) -> int:
        if self._options.fence == "borrow":
            return await self._read_fence("GET", "/state")
        async with self._claiming:
            if self._claimed is None:
                holder = f"{socket.gethostname()}/{os.getpid()}"
                self._claimed = await self._read_fence("POST", "/claim", {"holder": holder})
            return self._claimed

    async def _read_fence(self, method: str, path: str, body: dict[str, object] | None = None) -> int:
        said = await self._call(method, path, body)
        with self._understood():
            return int(said["fence"])

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DeployerUnavailable(
                f"{self._where} answers what no supervisor says ({error!r}); mend admin_url, or start `alignd serve` "
                "of this version"
            ) from error

    @property
    def _where(self) -> str:
        return f"supervisor at {self._options.admin_url}"

    async def _call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        where = self._where
        try:
            token = self._options.token_file.read_text().strip()
            async with httpx.AsyncClient(timeout=self._options.timeout_seconds, trust_env=False) as http:
                answer = await http.request(
                    method, self._options.admin_url.rstrip("/") + path, json=body,
                    headers={"Authorization": f"Bearer {token}"},
                )  # fmt: skip
        except (OSError, ValueError) as error:
            raise DeployerUnavailable(
                f"{where}: no readable token at {self._options.token_file}; start `alignd serve`, or mend token_file "
                "and who may read it"
            ) from error
        except httpx.HTTPError as error:
            raise DeployerUnavailable(
                f"{where} does not answer ({type(error).__name__}); start `alignd serve`"
            ) from error
        said = object_of(answer)
        if answer.status_code == httpx.codes.OK and said:
            return said
        message = str(said.get("message") or f"status {answer.status_code} without a reason")
        if refusal := _REFUSALS.get(str(said.get("error"))):
            raise refusal(message)
        raise DeployerUnavailable(f"{where}: {message}; check token_file and the supervisor's log")


def make(options: Options) -> VllmProcessDeployer:
    """Make the deployer of its options."""
    return VllmProcessDeployer(options)
