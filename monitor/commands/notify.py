"""``alignd notify``: see whether people would be told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from monitor.commands.serving import CONFIG, ConfigFile
from monitor.errors import ConfigError, NotSent
from monitor.settings import load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.channel import Channel

__all__ = ["app"]

_UNAVAILABLE = 4

app = typer.Typer(help="Look after the channels that people are told by.", no_args_is_help=True)


@app.callback()
def _several() -> None:
    """Keep ``test`` a word of its own."""


@app.command("test")
def try_out(
    name: Annotated[str, typer.Argument(help="Channel; all of them if not given.")] = "", config: ConfigFile = CONFIG
) -> None:
    """Send a test notification. Exit code: 0 all were taken, 2 no such channel, 4 one was not taken."""
    from monitor.channels import channels_of

    settings = load_settings(config)
    names = [n.name for n in settings.notifications]
    if not names:
        raise ConfigError(f"{config}: notifications: there are none; see docs/howto/notifications.md")
    if name and name not in names:
        raise ConfigError(f"no channel {name!r}; there are: {', '.join(names)}")
    chosen = [n for n in settings.notifications if name in {"", n.name}]
    if not asyncio.run(_tried(channels_of(chosen))):
        raise typer.Exit(_UNAVAILABLE)


async def _tried(channels: Sequence[Channel]) -> bool:
    """Try each channel, one after the other; say whether all took it."""
    from monitor.bootstrap import utc_now
    from monitor.telling import trial_of

    fine = True
    for channel in channels:
        try:
            await channel.notifier.send(trial_of(channel.name, identity=uuid4().hex[:12], now=utc_now()))
            print(f"{channel.name}: taken")
        except NotSent as error:
            fine = False
            print(f"{channel.name}: not taken: {error}")
        finally:
            await channel.notifier.aclose()
    return fine
