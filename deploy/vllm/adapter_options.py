"""Options of deployer ``vllm-adapter``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from deploy.vllm.gateways import GatewayOptions

__all__ = ["Options"]


class Options(BaseModel):
    """Which servers, and who steers the public name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: tuple[str, ...] = Field(min_length=1)
    """Base URL (``…/v1``) of each server; never a balancer's."""
    steer: Literal["plugin", "gateway"] = "plugin"
    """``plugin``: alignd-vllm inside vLLM. ``gateway``: an alias in front, and vLLM's own run-time LoRA routes."""
    gateway: GatewayOptions | None = None
    """The gateway, with ``steer: gateway``."""
    base: str = ""
    """Release id that the servers run, with ``steer: gateway``; it is their ``--served-model-name`` too."""
    state_file: Path
    """What is to be served, for a server that comes back without it."""
    api_key: SecretStr | None = None
    """vLLM's ``--api-key``."""
    token_file: Path | None = None
    """The plugin's ``admin-token``, with ``steer: plugin``; the same for all servers (``ALIGND_VLLM_TOKEN_FILE``)."""
    releases_at: str = ""
    """The release store as the servers see it; empty: as here."""
    fence: Literal["claim", "borrow"] = "claim"
    """``claim``: the first change takes over, and older holders are refused. ``borrow``: act beside the holder."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """For one call of one server."""

    @model_validator(mode="after")
    def _is_whole(self) -> Options:
        if wrong := [u for u in self.replicas if not u.startswith(("http://", "https://")) or not u.endswith("/v1")]:
            raise ValueError(f"{wrong[0]!r} is no base URL; write it like http://127.0.0.1:8000/v1")
        key = self.api_key.get_secret_value() if self.api_key else ""
        if not (key.isascii() and key.isprintable()):
            raise ValueError("api_key holds a character that no header can carry; copy the key again")
        if self.steer == "gateway" and (self.gateway is None or not self.base):
            raise ValueError("steer: gateway needs gateway and base")
        if self.steer == "plugin" and self.token_file is None:
            raise ValueError("steer: plugin needs token_file, the admin-token of the plugin's state folder")
        return self
