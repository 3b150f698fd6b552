"""``alignd status``, ``report`` and a person's word on an incident."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from monitor.commands.serving import CONFIG, AsJson, ConfigFile, with_service
from monitor.errors import ConfigError
from monitor.policy import Order
from monitor.settings import load_settings
from monitor.tables import status_tables

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.service import Service

__all__ = ["abort", "approve", "report", "roll_back", "status"]

IncidentArg = Annotated[str, typer.Argument(help="Incident id, see `alignd status`.")]
console = Console()
T = TypeVar("T")


def status(config: ConfigFile = CONFIG, *, as_json: AsJson = False) -> None:
    """Show targets, estimates and incidents as the store has them, and who serves; works without the daemon."""
    found = with_service(load_settings(config), _status)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console.print(*status_tables(found), sep="\n")


def report(
    incident: IncidentArg,
    config: ConfigFile = CONFIG,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for a page and a JSON file of each recipe tried.")] = None,
) -> None:
    """Print everything about one incident as JSON."""
    from monitor.status import incident_json

    if out:
        for path in _asked(config, lambda service: _reports(service, incident, out)):
            print(path)
        return

    found = _asked(config, lambda service: incident_json(service.store.load(incident), service.clock()))
    print(json.dumps(found, indent=2))


def approve(incident: IncidentArg, config: ConfigFile = CONFIG) -> None:
    """Approve what an incident waits for: the repair (mode observe) or the promotion (mode propose)."""
    _order(config, incident, Order.APPROVE)


def abort(incident: IncidentArg, config: ConfigFile = CONFIG) -> None:
    """Stop an incident's repair; a promotion under way is rolled back."""
    _order(config, incident, Order.ABORT)


def roll_back(incident: IncidentArg, config: ConfigFile = CONFIG) -> None:
    """Stop an incident's repair and serve the last known good release."""
    _order(config, incident, Order.ROLL_BACK)


def _asked(config: Path, verb: Callable[[Service], T]) -> T:
    """Make the service, call a verb that awaits nothing, and close it."""

    async def ask(service: Service) -> T:
        return verb(service)

    return with_service(load_settings(config), ask)


def _reports(service: Service, incident: str, folder: Path) -> tuple[Path, ...]:
    from monitor.patch_reports import write_reports

    found = service.store.load(incident)
    if found.target not in service.sites:
        raise ConfigError(f"incident {incident}: target {found.target!r} is not in the settings")
    return write_reports(found, service.sites[found.target], service.store, folder, at=service.clock())


async def _status(service: Service) -> dict[str, Any]:
    from monitor.looking import look_at_deployments
    from monitor.status import status_json

    await look_at_deployments(service)
    return status_json(service)


def _order(config: Path, incident: str, order: Order) -> None:
    _asked(config, lambda service: service.order(incident, order, by=getpass.getuser()))
    console.print(f"{order.value.replace('_', '-')} noted for {incident}; the daemon does it", highlight=False)
