"""``alignd pause`` and ``alignd resume``: the switch that keeps a target from being probed."""

from __future__ import annotations

import getpass
import re
from datetime import timedelta
from typing import Annotated

import typer

from monitor.commands.options import reason
from monitor.commands.serving import CONFIG, ConfigFile
from monitor.errors import ConfigError, unknown_target
from monitor.pausing import pause_words
from monitor.settings import Settings, load_settings
from monitor.store import Pause
from monitor.stores.sql import SqlStore

__all__ = ["pause", "resume"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

TargetArg = Annotated[str, typer.Argument(help="Target, see `alignd status`.")]


def pause(
    target: TargetArg,
    config: ConfigFile = CONFIG,
    *,
    duration: Annotated[str, typer.Option("--for", help="How long, e.g. 30m, 4h or 2d; for good if not given.")] = "",
    why: Annotated[str, typer.Option(help="Reason, for those who wonder; shown by `alignd status`.")] = "",
) -> None:
    """Send a target no more probes; a sweep under way stops within a second. Incidents wait where they must ask."""
    from monitor.bootstrap import utc_now

    now = utc_now()
    until = now + _length(duration) if duration else None
    paused = Pause(target=target, until=until, by=getpass.getuser(), at=now, why=reason(why, needed=False))
    store = _store(load_settings(config), target)
    try:
        store.pause(paused)
    finally:
        store.close()
    print(f"{target}: {pause_words(paused)}")


def resume(target: TargetArg, config: ConfigFile = CONFIG) -> None:
    """Probe a target again."""
    from monitor.bootstrap import utc_now

    store = _store(load_settings(config), target)
    try:
        store.resume(target, by=getpass.getuser(), at=utc_now())
    finally:
        store.close()
    print(f"{target} is probed again")


def _store(settings: Settings, target: str) -> SqlStore:
    names = [t.name for t in settings.targets]
    if target not in names:
        raise unknown_target(target, names)
    return SqlStore(settings.store.url)


def _length(duration: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([mhd])", duration, re.ASCII)
    if not found or not int(found[1]):
        raise ConfigError(f"--for {duration}: write minutes, hours or days, e.g. 30m, 4h or 2d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
