"""``alignd breaker``: lets the daemon repair a target again whose repairs failed in a row."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.options import reason
from monitor.commands.serving import CONFIG, ConfigFile, with_service
from monitor.settings import load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.service import Service

__all__ = ["app"]

app = typer.Typer(help="Let the daemon repair a target again whose repairs failed in a row.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `reset` a word of its own."""


@app.command()
def reset(
    target: Annotated[str, typer.Argument(help="Target, see `alignd status`.")],
    config: ConfigFile = CONFIG,
    *,
    why: Annotated[str, typer.Option(help="What was found and put right; kept for the audit.")],
) -> None:
    """Close a target's breaker. Failures of before count no more; an incident that waits for it goes on."""
    why = reason(why)

    async def ask(service: Service) -> None:
        service.reset_breaker(target, by=getpass.getuser(), why=why)

    with_service(load_settings(config), ask)
    print(f"{target}: breaker closed")
