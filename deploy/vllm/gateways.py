"""Gateways whose alias for the public name alignd can change: a LiteLLM proxy, or a map of HAProxy."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from deploy.durable import write_whole
from deploy.errors import DeployerUnavailable, StageError
from deploy.steer import Steer
from deploy.vllm.answer import object_of
from deploy.vllm.haproxy_api import ask
from deploy.vllm.replica import Client

__all__ = ["GatewayOptions", "HaproxyMap", "HaproxyMapOptions", "LiteLLM", "LiteLLMOptions", "make_steer"]

_PROVIDER = "hosted_vllm/"
"""What LiteLLM puts before the model name of a vLLM server."""
_MODEL = re.compile(r"[A-Za-z0-9._@-]+")


class LiteLLMOptions(BaseModel):
    """A LiteLLM proxy that keeps its models in a database (``STORE_MODEL_IN_DB``): others change only by a restart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["litellm"]
    url: str = Field(pattern=r"^https?://")
    """Base URL of the proxy."""
    key: SecretStr
    """A key that may change models (the master key)."""
    model: str
    """The public name: ``model_name`` of its deployments."""
    timeout_seconds: float = Field(default=30.0, gt=0)


class HaproxyMapOptions(BaseModel):
    """A map file of HAProxy from public name to model name, changed over its run-time API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["haproxy-map"]
    socket: Path
    """The ``stats socket … level admin``."""
    map: Path
    """The map file, as the configuration names it."""
    model: str = Field(pattern=r"^\S+$")
    """The public name: the map's key."""
    timeout_seconds: float = Field(default=5.0, gt=0)


GatewayOptions = Annotated[LiteLLMOptions | HaproxyMapOptions, Field(discriminator="kind")]


class LiteLLM:
    """Every deployment of the public name asks its server for the same model name."""

    def __init__(self, options: LiteLLMOptions, *, http: Client) -> None:
        """Take where it is and how to make a client."""
        self._options = options
        self._http = http

    async def aimed(self) -> str:
        """Return the model name of its deployments; ``""`` where they differ or there is none."""
        found = {str(d["litellm_params"].get("model", "")).removeprefix(_PROVIDER) for d in await self._deployments()}
        return found.pop() if len(found) == 1 else ""

    async def aim(self, model: str) -> None:
        """Change each deployment, then look whether the proxy has it.

        Raises:
            StageError: It keeps models in a file, or has no deployment of that name.
        """
        deployments = await self._deployments()
        if not deployments:
            raise StageError(f"{self._where} has no model {self._options.model}; add its deployments first")
        for deployment in deployments:
            params = {"model": _PROVIDER + model}
            body = {"model_info": {"id": deployment["model_info"]["id"]}, "litellm_params": params}
            answer = await self._send("POST", "/model/update", body)
            if answer.status_code != httpx.codes.OK:
                raise StageError(
                    f"{self._where} does not change a model ({answer.status_code}); it must keep its models in a "
                    "database (STORE_MODEL_IN_DB), and the key must be allowed to"
                )
        if await self.aimed() != model:
            raise StageError(f"{self._where} took {model} and does not serve it; look into its log")

    @property
    def _where(self) -> str:
        return f"LiteLLM at {self._options.url}"

    async def _deployments(self) -> list[dict[str, dict[str, object]]]:
        answer = await self._send("GET", "/model/info", None)
        listed = object_of(answer).get("data")
        if answer.status_code != httpx.codes.OK or not isinstance(listed, list):
            raise DeployerUnavailable(f"{self._where} answers {answer.status_code} to /model/info; check url and key")
        return [d for d in listed if isinstance(d, dict) and d.get("model_name") == self._options.model]

    async def _send(self, method: str, path: str, body: dict[str, object] | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._options.key.get_secret_value()}"}
        try:
            async with self._http() as http:
                return await http.request(
                    method, self._options.url.rstrip("/") + path, json=body, headers=headers,
                    timeout=self._options.timeout_seconds,
                )  # fmt: skip
        except httpx.HTTPError as error:
            raise DeployerUnavailable(f"{self._where} does not answer ({type(error).__name__}); start it") from error


class HaproxyMap:
    """One entry of a map: in HAProxy's memory, and in the file that it reads when it starts."""

    def __init__(self, options: HaproxyMapOptions) -> None:
        """Take where its socket and its map are."""
        self._options = options

    async def aimed(self) -> str:
        """Return what the public name means in HAProxy's memory; ``""`` where the map has it not, or twice."""
        said = await self._ask(f"show map {self._options.map}")
        rows = [line.split() for line in said.splitlines() if line.startswith("0x")]
        found = {row[2] for row in rows if len(row) == 3 and row[1] == self._options.model}
        return found.pop() if len(found) == 1 else ""

    async def aim(self, model: str) -> None:
        """Write the file, then change HAProxy's memory, then look whether it did.

        Raises:
            StageError: The name can't stand in a map, or HAProxy does not take it.
        """
        if not _MODEL.fullmatch(model):
            raise StageError(f"{model!r} can't stand in a map of HAProxy; use letters, digits, dots and dashes")
        await asyncio.to_thread(self._write, model)
        key, file = self._options.model, self._options.map
        verb = "set" if await self.aimed() else "add"
        said = await self._ask(f"{verb} map {file} {key} {model}")
        if await self.aimed() != model:
            raise StageError(f"HAProxy does not take {model} for {key} into {file}: {said.strip() or 'no reason'}")

    def _write(self, model: str) -> None:
        key, file = self._options.model, self._options.map
        try:
            lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            kept = [line for line in lines if line.split()[:1] != [key]]
            write_whole(file, "\n".join([*kept, f"{key} {model}"]) + "\n")
        except OSError as error:
            raise DeployerUnavailable(f"{file} can't be written ({error}); mend the gateway's map") from error

    async def _ask(self, command: str) -> str:
        said = await ask(self._options.socket, command, seconds=self._options.timeout_seconds)
        if "Unknown map" in said or "Permission denied" in said:
            where = f"HAProxy at {self._options.socket}"
            raise DeployerUnavailable(f"{where}: {said}; check map, and `level admin` of the socket")
        return said


def make_steer(options: LiteLLMOptions | HaproxyMapOptions, *, http: Client) -> Steer:
    """Make the gateway's alias of its options."""
    return LiteLLM(options, http=http) if isinstance(options, LiteLLMOptions) else HaproxyMap(options)
