"""``alignd audit``: what a target's release does on sealed prompts and what was done about it, for an auditor."""

from __future__ import annotations

import asyncio
import getpass
import importlib
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from monitor.commands import audit_log
from monitor.commands import audit_showing as showing
from monitor.commands.moments import moment_of
from monitor.commands.serving import CONFIG, ConfigFile
from monitor.errors import ConfigError
from monitor.settings import load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.audits.request import Period
    from monitor.audits.running import Written
    from monitor.service import Service

__all__ = ["app"]

app = typer.Typer(help="Audit what is served: measure it, and tell what was done.", no_args_is_help=True)
app.command()(audit_log.log)
app.command()(audit_log.verify)


@app.command("run")
def run_audit(
    target: Annotated[str, typer.Argument(help="Target, see `alignd status`.")],
    config: ConfigFile = CONFIG,
    *,
    suites: Annotated[list[str] | None, typer.Option(help="In place of the target's own suites: harm, benign or task "
                                                     "for its own of that kind, a name, or a file; again for more.")
                      ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws attacks and seeds; audits of one seed ask the same.")] = 0,
    before: Annotated[str, typer.Option(help="Audit or release to hold the figures against; the target's last audit "
                                        "if not given.")] = "",
    begin: Annotated[str, typer.Option("--from", help="First day of the period; where the last audit ended if not "
                                       "given.")] = "",
    end: Annotated[str, typer.Option("--to", help="Last day of the period; now if not given.")] = "",
    anew: Annotated[bool, typer.Option("--anew", help="Drop an audit that was begun and is not done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the audit as JSON.")] = False,
) -> None:  # fmt: skip
    """Audit a target's served release now. One that was killed goes on."""
    logging.getLogger("alignd").setLevel(logging.ERROR)
    period = _period(begin, end)
    service = _service(config)
    written = asyncio.run(
        _run(service, target, suites=tuple(suites or ()), seed=seed, before=before, period=period, anew=anew,
             quiet=as_json)
    )  # fmt: skip
    for note in written.notes:
        print(f"alignd: {note}", file=sys.stderr)
    if as_json:
        print((written.folder / "audit.json").read_text(encoding="utf-8"), end="")
    else:
        showing.one(service.audits.archive.read(written.folder.name), as_json=False)
        print(f"wrote {written.folder}")


@app.command("show")
def show_audit(
    audit: Annotated[str, typer.Argument(help="Audit; without one they are listed.")] = "",
    config: ConfigFile = CONFIG,
    *,
    compare: Annotated[list[str] | None, typer.Option(help="Another audit to set beside it; again for more.")] = None,
    page: Annotated[Path | None, typer.Option(help="With --compare: page with the trend, its plots too.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check its files and signature. Exit code: 0 sound, 1 not.")
                      ] = False,
    key: Annotated[Path | None, typer.Option(help="Public key to verify with; the site's own if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """Show an audit, check it, set it beside others, or list them all."""
    from monitor.audits.archive import Archive

    settings = load_settings(config).audits
    archive = Archive(settings.folder)
    if (compare or verify) and not audit:
        raise ConfigError("--compare and --verify need an audit; `alignd audit show` lists them")
    if verify:
        showing.verify(archive.place(audit), key, settings.private_key)
    elif compare:
        showing.trend(archive, (audit, *compare), page, as_json=as_json)
    elif audit:
        showing.one(archive.read(audit), as_json=as_json)
    else:
        showing.listed(archive, as_json=as_json)


@app.command("schedule")
def schedule(
    config: ConfigFile = CONFIG,
    *,
    count: Annotated[int, typer.Option("--next", "-n", min=1, max=1000, help="How many to list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the audits that the daemon will make next, and those that are due or under way."""
    showing.schedule(load_settings(config), count=count, as_json=as_json)


@app.command("key")
def make_key(
    path: Annotated[Path, typer.Argument(help="File to write, or one that is there, to print its public half.")],
) -> None:
    """Make the key that signs audits, and print its public half: give that to whoever checks them."""
    from monitor.audits.signing import new_key, public_key_of

    there = path.exists()
    print(public_key_of(path) if there else new_key(path), end="")
    if not there:
        print(f"alignd: wrote {path}; set audits.private_key to it, and keep it where only the daemon reads",
              file=sys.stderr)  # fmt: skip


async def _run(
    service: Service, target: str, *, suites: tuple[str, ...], seed: int, before: str, period: Period | None,
    anew: bool, quiet: bool,
) -> Written:  # fmt: skip
    audits = service.audits
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    try:
        if anew:
            audits.drop_unfinished(target)
        request = audits.request(
            target, suites=suites, seed=seed, before=before, period=period, by=getpass.getuser()
        )
        with Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as progress:
            bar = progress.add_task("audit", total=1.0)

            def say(what: str, share: float) -> None:
                progress.update(bar, description=what, completed=share)

            return await audits.run(request, say)
    finally:
        await service.aclose()


def _service(config: Path) -> Service:
    built: Service = importlib.import_module("monitor.bootstrap").build(load_settings(config))
    return built


def _period(begin: str, end: str) -> Period | None:
    """Read the period: days, or moments with a time; the last day is a part of it."""
    from datetime import timedelta

    from monitor.audits.request import Period

    if not begin and not end:
        return None
    if not begin:
        raise ConfigError("--to needs --from, the first day of the period")
    first, last = moment_of(begin, "--from"), moment_of(end, "--to") if end else datetime.now(UTC)
    if end and len(end) == len("2026-01-01"):
        last += timedelta(days=1)
    if first >= last:
        raise ConfigError(f"--from {begin} --to {end}: the period has no end after its beginning")
    return Period(begin=first, end=last)
