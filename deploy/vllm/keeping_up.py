"""Brings the desired release's server back whenever it dies."""

from __future__ import annotations

import asyncio
import logging

from deploy.errors import DeployError
from deploy.vllm.servers import Servers
from deploy.vllm.traffic import Traffic

__all__ = ["always", "keep_up"]

log = logging.getLogger("alignd.supervisor")

_BACKOFF_SECONDS_MAX = 60.0


def always() -> None:
    """Admit what the supervisor does by itself: it is what the record says already."""


async def keep_up(servers: Servers, traffic: Traffic) -> None:
    """Bring the desired release up and before users now and whenever its server dies, with growing pauses."""
    pause = 1.0
    while True:
        await servers.bury()
        try:
            if servers.missing():
                desired = traffic.record.desired
                async with servers.lock(desired):
                    if servers.missing() and traffic.record.desired == desired:
                        await servers.up(desired, always)
            await traffic.follow(servers.wanted)
            pause = 1.0
        except (DeployError, OSError) as error:
            log.error("restart_failed %s", error)
            pause = min(pause * 2, _BACKOFF_SECONDS_MAX)
        await asyncio.sleep(pause if servers.missing() else 0.5)
