"""``alignd stack``: files for what stands around alignd on a host, filled in."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import StageError
from monitor.errors import ConfigError

if TYPE_CHECKING:  # so that `alignd --help` stays quick
    from deploy.stack.slo import Cadence
    from monitor.settings import Settings

__all__ = ["stack"]


def stack(
    folder: Annotated[Path, typer.Argument(help="Folder to write the files to; none of them may be there.")],
    *,
    name: Annotated[str, typer.Option(help="Public model name.")] = "my-model",
    host: Annotated[str, typer.Option(help="Address that users reach.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that users reach.", min=1, max=65535)] = 8000,
    upstream: Annotated[
        str, typer.Option(help="host:port of one vLLM server that stays; without it `alignd serve` says where.")
    ] = "",
    adapter: Annotated[str, typer.Option(help="Model that LiteLLM asks for, e.g. prod@0123456789ab.")] = "",
    user: Annotated[str, typer.Option(help="Account of the systemd units.")] = "alignd",
    config: Annotated[
        Path, typer.Option(help="The daemon's configuration: the safety SLO's windows fit its targets' schedules.")
    ] = Path("alignd.yaml"),
    runbooks: Annotated[str, typer.Option(help="URL that docs/runbooks is published under.")] = "docs/runbooks",
    page_url: Annotated[str, typer.Option(help="Web hook for pages.")] = "http://127.0.0.1:9/page",
    ticket_url: Annotated[str, typer.Option(help="Web hook for tickets.")] = "http://127.0.0.1:9/ticket",
) -> None:
    """Write what stands around alignd on a host: proxies with the supervisor's allow-list, systemd units, monitoring.

    Exit code: 0 all are written, 2 one is there already, can't be written, or a value can't stand in one.
    """
    from deploy.stack.files import StackValues, write_stack

    values = StackValues(
        name=name, host=host, port=port, upstream=upstream, adapter=adapter, user=user, runbooks=runbooks,
        page_url=page_url, ticket_url=ticket_url,
    )  # fmt: skip
    if config.exists():
        from monitor.settings import load_settings

        settings = load_settings(config)
        listen = settings.listen
        values = replace(values, daemon=f"{listen.host}:{listen.port}", cadences=_cadences(settings))
    try:
        for path in write_stack(folder, values):
            print(path)
    except StageError as error:
        raise ConfigError(str(error)) from error
    if "://" not in runbooks:
        print(f"alerts link to {runbooks}/…, which leads nowhere from a pager; --runbooks says where it is published",
              file=sys.stderr)  # fmt: skip


def _cadences(settings: Settings) -> tuple[Cadence, ...]:
    """Put targets of one pace and limit together."""
    from deploy.stack.slo import Cadence

    found = defaultdict[tuple[float, float], list[str]](list)
    for target in settings.targets:
        per_hour = 3600 * target.schedule.batch / target.schedule.interval_seconds
        found[per_hour, target.statistics.p0].append(target.name)
    return tuple(
        Cadence(targets=tuple(names), probes_per_hour=per_hour, limit=p0) for (per_hour, p0), names in found.items()
    )
