"""Options of deployer ``vllm-reload``."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Options"]


class Options(BaseModel):
    """The server, started by ``python -m deploy.vllm.reload_server``, and how long things may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = "http://127.0.0.1:8000"
    """The server, without ``/v1``; on loopback: its dev-mode routes must reach nobody else."""
    model: str
    """Served model name."""
    releases: Path
    """Release store."""
    state: Path
    """The server's state folder: token, journal, desired state."""
    api_key_file: Path | None = None
    """Holds the server's ``--api-key``, where it has one."""
    drain_seconds: float = Field(default=30.0, gt=0)
    """How long users' requests in flight may take; where they take longer, nothing is changed."""
    hold_seconds: float = Field(default=60.0, gt=0)
    """How long users wait at the door before they get 503."""
    step_seconds: float = Field(default=60.0, gt=0)
    """For one step of loading."""
    start_seconds: float = Field(default=600.0, gt=0)
    """For the scratch server to come up."""
    scratch_arguments: tuple[str, ...] = ("--max-model-len", "2048", "--max-num-seqs", "16")
    """Further arguments of vLLM for the scratch server."""
    restart: tuple[str, ...] = ()
    """Command that restarts the server where nothing else helps, e.g. ``[systemctl, restart, alignd-vllm]``."""
    restart_seconds: float = Field(default=300.0, gt=0)
    fence: Literal["claim", "borrow"] = "claim"
    """Whether the first change takes the server over from others, or acts with the fence that is there."""

    @field_validator("url")
    @classmethod
    def _loopback(cls, url: str) -> str:
        try:
            said = httpx.URL(url)
            safe = said.scheme == "http" and (said.host == "localhost" or ipaddress.ip_address(said.host).is_loopback)
        except (httpx.InvalidURL, ValueError):
            safe = False
        if not safe:
            raise ValueError(f"{url!r} is not http:// on loopback; run alignd on the server's host: dev mode obeys all")
        return url.rstrip("/")
