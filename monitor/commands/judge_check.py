"""``alignd judge check`` and ``alignd judge accept``: has a target's judge drifted, and may it go on?"""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from monitor.commands.serving import CONFIG, ConfigFile
from monitor.errors import ConfigError, JudgeUnavailable, NotMeasured, unknown_target

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.judge_series import JudgeState
    from monitor.settings import Settings
    from monitor.target_settings import TargetSettings

__all__ = ["accept", "check"]

_DRIFTED, _UNAVAILABLE, _NOT_ENOUGH = 3, 4, 5

TargetArg = Annotated[str, typer.Argument(help="Target, see `alignd status`.")]


def check(
    target: TargetArg,
    config: ConfigFile = CONFIG,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a target's judge against its labelled replies now; the first time calibrates it.

    Exit code: 0 fine, 3 drifted, 4 the judge does not answer, 5 too few scored.
    """
    settings, found = _of(config, target)
    try:
        state = asyncio.run(_checked(settings, found))
    except NotMeasured as error:
        typer.echo(f"alignd: {error}", err=True)
        raise typer.Exit(_UNAVAILABLE if isinstance(error, JudgeUnavailable) else _NOT_ENOUGH) from error
    if as_json:
        typer.echo(json.dumps(state.to_json(), indent=2))
    else:
        Console().print(_table(target, state), state.why or "the judge is as it was calibrated", highlight=False)
    raise typer.Exit(_DRIFTED if state.frozen else 0)


def accept(target: TargetArg, config: ConfigFile = CONFIG) -> None:
    """Let a frozen judge decide again, after you looked at it; the next check calibrates it anew."""
    from monitor.bootstrap import utc_now
    from monitor.judge_check import accept_judge
    from monitor.stores.sql import SqlStore

    settings, found = _of(config, target)
    if found.judge_check is None:
        raise ConfigError(f"target {target} has no judge_check, so its judge is never frozen")
    store = SqlStore(settings.store.url)
    try:
        accept_judge(store, target, gamma=found.judge_check.gamma, by=getpass.getuser(), at=utc_now())
    finally:
        store.close()
    typer.echo(f"the judge of {target} is accepted; the next check calibrates it anew")


def _of(config: Path, target: str) -> tuple[Settings, TargetSettings]:
    from monitor.settings import load_settings

    settings = load_settings(config)
    targets = {t.name: t for t in settings.targets}
    if target not in targets:
        raise unknown_target(target, targets)
    return settings, targets[target]


async def _checked(settings: Settings, target: TargetSettings) -> JudgeState:
    """Make the judge inside the loop that its connections will live in, and check it once."""
    from monitor.bootstrap import judge_of, utc_now
    from monitor.judge_check import check_judge
    from monitor.stores.sql import SqlStore
    from monitor.watchers import judge_check_of
    from probes.judge import Closing

    key = settings.key.get_secret_value()
    judge = judge_of(target.judge.plugin, target.judge.options, key=key, where=f"targets.{target.name}.judge")
    store = SqlStore(settings.store.url)
    try:
        check = judge_check_of(target, judge, store, key=key)
        if check is None:
            raise ConfigError(f"target {target.name} has no judge_check; name a file of labelled replies there")
        return await check_judge(check, clock=utc_now)
    finally:
        store.close()
        if isinstance(judge, Closing):
            await judge.aclose()


def _table(target: str, state: JudgeState) -> Table:
    table = Table(title=f"judge of {target}, series {state.series}", title_justify="left")
    for column in ("", "value", "95 % interval", "n"):
        table.add_column(column, justify="right" if column else "left")
    for name, rate in (("sensitivity", state.sensitivity), ("specificity", state.specificity)):
        if rate.value is None:
            table.add_row(name, "-", "unknown", str(rate.n))
        else:
            table.add_row(name, f"{rate.value:.3f}", f"{rate.lower:.3f} to {rate.upper:.3f}", str(rate.n))
    table.add_row("log evidence", f"{state.log_evidence:.2f}", f"frozen at {state.log_threshold:.2f}", str(state.n))
    return table
