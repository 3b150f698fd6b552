"""``alignd epoch``: what a target's evidence is counted from, and the way to count anew."""

from __future__ import annotations

import asyncio
import getpass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.serving import CONFIG, ConfigFile
from monitor.errors import ConfigError, unknown_target
from monitor.plain_text import plain
from monitor.settings import load_settings

if TYPE_CHECKING:  # so that `alignd --help` stays quick
    from monitor.probe_log import Epoch
    from monitor.service import Service
    from monitor.store import ProbeLog

__all__ = ["app", "begin_anew"]

_REASON, _LINE = 200, 400

app = typer.Typer(help="Look at the epochs that evidence is counted in, or begin a new one.", no_args_is_help=True)


@app.command()
def new(
    target: Annotated[str, typer.Argument(help="Target, see `alignd status`.")],
    config: ConfigFile = CONFIG,
    *,
    reason: Annotated[str, typer.Option(help="Why, kept with the epoch.")] = "",
) -> None:
    """Begin a target's evidence anew: the way out of a probe log that can't be read.

    The old records stay; releases, baselines and incidents stay as they are. What spoke for a drift so far no longer
    counts, so don't use it to silence an alarm.
    """
    from monitor.bootstrap import utc_now
    from monitor.stores.sql import SqlStore

    settings = load_settings(config)
    names = [t.name for t in settings.targets]
    if target not in names:
        raise unknown_target(target, names)
    store = SqlStore(settings.store.url)
    try:
        before, begun = begin_anew(
            store, target, by=getpass.getuser(), reason=plain(reason, most=_REASON), at=utc_now()
        )
    finally:
        store.close()
    print(f"{target}: the evidence of release {begun.release} begins anew with epoch {begun.id}; nothing of epoch "
          f"{before.id} counts any more. A running daemon goes on from there with its next batch.")  # fmt: skip


@app.command()
def show(
    target: Annotated[str, typer.Argument(help="Target; all of them if not given.")] = "", config: ConfigFile = CONFIG
) -> None:
    """Show each target's present epoch: since when, of which release, held against what, and whether it can be read."""
    from monitor.bootstrap import build

    settings = load_settings(config)
    names = [t.name for t in settings.targets]
    if target and target not in names:
        raise unknown_target(target, names)
    service = build(settings)
    try:
        for name in [target] if target else names:
            print("\n".join(_lines(service, name)))
    finally:
        asyncio.run(service.aclose())


def begin_anew(store: ProbeLog, target: str, *, by: str, reason: str, at: datetime) -> tuple[Epoch, Epoch]:
    """Put a new epoch after a target's newest one; the daemon finds that it is not its own and begins a proper one.

    Returns:
        The epoch before, and the new one: of the same release, against the same baseline.

    Raises:
        ConfigError: The target has none yet.
    """
    before = store.latest_epoch(target)
    if before is None:
        raise ConfigError(f"target {target} has no epoch yet: nothing to begin anew")
    key = f"begun anew by {by} {at.isoformat()}" + (f": {reason}" if reason else "")
    return before, store.epoch(target, before.release, key, at, baseline=before.baseline)


def _lines(service: Service, name: str) -> list[str]:
    epoch = service.store.latest_epoch(name)
    if epoch is None:
        return [f"{name}: no epoch yet"]
    against = f"held against {epoch.baseline.release}" if epoch.baseline else "held against no release"
    since = f"{epoch.started_at:%Y-%m-%d %H:%M:%S} UTC"
    said = f"{name}: epoch {epoch.id} of release {epoch.release}, since {since}, {against}"
    current = service.watched(name)
    if current is None:
        return [said, f"  can't be read: {plain(service.views[name].why, most=_LINE)}"]
    watch = current[1]
    begun = [f"  {plain(epoch.key, most=_LINE)}"] if epoch.key.startswith("begun anew") else []
    return [said, f"  {watch.position} probes, {watch.missing} missing, phase {watch.phase.value}", *begun]
