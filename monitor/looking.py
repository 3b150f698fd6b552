"""A look at what serves now, for a process that has not probed: ``alignd status`` beside the daemon or without one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from deploy.deployer import DeploymentState
from deploy.errors import DeployerUnavailable
from monitor.service import Service
from monitor.site import Site
from monitor.view import View

__all__ = ["look_at_deployments"]

_SECONDS = 2.0


async def look_at_deployments(service: Service, *, seconds: float = _SECONDS) -> None:
    """Ask every target's serving side at once what it has in service; each view says so, or why nothing is known.

    Args:
        service: Its views are filled in.
        seconds: For how long one that hangs is waited for.
    """
    sites = tuple(service.sites.values())
    found = await asyncio.gather(*(_state_of(site, seconds) for site in sites))
    for site, state in zip(sites, found, strict=True):
        view = service.view(site.name)
        if isinstance(state, DeploymentState):
            service.prober.views[site.name] = replace(view, deployment=state)
        else:
            known = "" if view.why == View().why else view.why
            service.prober.views[site.name] = replace(view, why="; ".join(filter(None, (known, state))))


async def _state_of(site: Site, seconds: float) -> DeploymentState | str:
    try:
        return await site.state_within(seconds)
    except DeployerUnavailable as error:
        return str(error)
