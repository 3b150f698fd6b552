"""``alignd plan``: what would be done about an incident from here, without doing it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.serving import CONFIG, AsJson, ConfigFile, with_service
from monitor.plain_text import plain
from monitor.settings import load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.planning import Plan
    from monitor.service import Service

__all__ = ["plan", "told"]

_LINE = 600


def plan(
    incident: Annotated[str, typer.Argument(help="Incident id, see `alignd status`.")],
    config: ConfigFile = CONFIG,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what would be done from here, state by state, and which rails stand; does nothing of it."""

    async def ask(service: Service) -> Plan:
        return await service.plan(incident)

    found = with_service(load_settings(config), ask)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
        return
    for line in told(found):
        print(plain(line, most=_LINE))


def told(found: Plan) -> Iterator[str]:
    """Lay a plan out in lines."""
    yield f"{found.incident}: {found.target} is {found.state.value}, mode {found.mode.value}, by {found.deployer}"
    for release, digest in found.digests.items():
        yield f"  {release}: {digest}"
    if not found.steps:
        yield "  it has ended; nothing would be done"
        return
    for number, step in enumerate(found.steps, 1):
        yield f"{number}. {step.state.value}: {step.does}"
        if step.person:
            yield f"   waits for `alignd approve {found.incident}`"
        for hold in step.holds:
            until = f", until {hold.until:%Y-%m-%d %H:%M} UTC" if hold.until else ""
            yield f"   rail {hold.name} stands: {hold.why}{until}"
        yield f"   otherwise: {step.otherwise}"
    for rung, (plugin, options) in enumerate(found.recipes, 1):
        yield f"recipe {rung}: {plugin} {json.dumps(options, sort_keys=True, default=str)}"
    yield "gates: " + ", ".join(f"{name} {limit}" for name, limit in found.gates.items())
