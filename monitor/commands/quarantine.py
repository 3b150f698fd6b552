"""``alignd quarantine``: lets users have a target again that is kept from them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.options import reason
from monitor.commands.serving import CONFIG, ConfigFile, with_service
from monitor.settings import load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.incident import Incident
    from monitor.service import Service

__all__ = ["app"]

app = typer.Typer(help="Let users have a target again that is kept from them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `lift` a word of its own."""


@app.command()
def lift(
    target: Annotated[str, typer.Argument(help="Target, see `alignd status`.")],
    config: ConfigFile = CONFIG,
    *,
    why: Annotated[str, typer.Option(help="What was found; kept for the audit.")],
) -> None:
    """Give users the release again that they had before the quarantine; the daemon does it within seconds.

    An open incident goes on; `alignd roll-back INCIDENT` gives users the last known good release instead.

    Exit code: 0 it is noted, 2 there is no such target or nothing is quarantined, 4 the serving side is away.
    """
    why = reason(why)

    async def ask(service: Service) -> tuple[str, tuple[Incident, ...]]:
        _, release = await service.lifting.place(target, by=getpass.getuser(), why=why)
        return release, service.store.incidents(target=target, open_only=True)

    release, opened = with_service(load_settings(config), ask)
    print(f"{target}: lift noted; the daemon gives users {release or 'no release: none was promoted yet'}")
    for incident in opened:
        print(f"incident {incident.id} goes on; `alignd roll-back {incident.id}` gives them "
              f"{incident.last_good or 'the last known good release'} instead")  # fmt: skip
