"""What ``alignd audit show`` does: one audit, all of them, several side by side, or a check."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from monitor.errors import ConfigError
from monitor.plain_text import plain

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.audits.archive import Archive
    from monitor.settings import Settings

__all__ = ["listed", "one", "schedule", "trend", "verify"]

_UNSOUND = 1
_LINE = 4000


def one(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an audit."""
    from monitor.commands.audit_tables import audit_tables

    if as_json:
        print(json.dumps(document, indent=2))
        return
    console = Console()
    for table in audit_tables(document):
        console.print(table)


def listed(archive: Archive, *, as_json: bool) -> None:
    """List all audits, newest first."""
    from monitor.commands.audit_tables import list_table

    found = [archive.read(i) for i in archive.ids()]
    if as_json:
        told = ("id", "target", "release", "began_at", "period")
        print(json.dumps([{k: a[k] for k in told} for a in found], indent=2))
    elif found:
        Console().print(list_table(found))
    else:
        print(f"no audits in {archive.folder}; `alignd audit run TARGET` makes one")


def trend(archive: Archive, audits: Sequence[str], page: Path | None, *, as_json: bool) -> None:
    """Set audits side by side, the oldest first, and say where they were measured in other ways."""
    from monitor.audits.trend import breaks_of, trend_json, trend_of
    from monitor.commands.audit_tables import trend_table

    documents = sorted((archive.read(a) for a in dict.fromkeys(audits)), key=lambda d: str(d["began_at"]))
    if as_json:
        print(json.dumps(trend_json(documents), indent=2))
    else:
        Console().print(trend_table(documents))
        for place, suite, why in breaks_of(documents):
            words = f"* {documents[place]['id']}: {suite} can't be compared with the one before: {'; '.join(why)}"
            print(plain(words, most=_LINE))
    if page:
        from deploy.durable import write_whole
        from monitor.audits.page import trend_page_of

        try:
            write_whole(page, trend_page_of(documents, trend_of(documents), breaks_of(documents)))
        except OSError as error:
            raise ConfigError(f"--page {page}: can't be written ({error.strerror}); give another place") from error
        print(f"wrote {page}", file=sys.stderr)


def schedule(settings: Settings, *, count: int, as_json: bool) -> None:
    """List what is planned, in the plan's own hours, and what was begun and is not done."""
    from zoneinfo import ZoneInfo

    from monitor.audits.archive import Archive
    from monitor.audits.plan import next_runs
    from monitor.bootstrap import utc_now
    from monitor.watchers import audit_rules

    rules = audit_rules(settings)
    begun = Archive(rules.folder).unfinished()
    runs = next_runs(rules.plans, after=utc_now(), count=count)
    targets = tuple(t.name for t in settings.targets)
    if as_json:
        planned = [{"at": at.isoformat(), "plan": p.name, "targets": list(p.targets or targets)} for at, p in runs]
        print(json.dumps({"planned": planned, "unfinished": [r.to_json() for r in begun]}, indent=2))
        return
    for r in begun:
        print(f"{r.id}: begun {r.began_at:%Y-%m-%d %H:%M} UTC, not done" + (f" ({r.scheduled})" if r.scheduled else ""))
    for at, p in runs:
        local = at.astimezone(ZoneInfo(p.time_zone))
        print(f"{local:%Y-%m-%d %H:%M} {p.time_zone}  {p.name}: {', '.join(p.targets or targets)}")
    if not runs:
        print("no audits are planned; set audits.plans, see docs/howto/audits.md")


def verify(folder: Path, key: Path | None, private_key: Path | None) -> None:
    """Check an audit's files and signature, and exit with what came of it."""
    from monitor.audits.manifest import SIGNATURE, check_folder

    checked = check_folder(folder, _public(key, private_key))
    for fault in checked.faults:
        print(plain(f"{folder.name}: {fault}", most=_LINE))
    for name in checked.left_out:
        print(f"{folder.name}: {name} is not there; figures can be checked without it, not compared")
    if checked.sound and checked.signed:
        print(f"{folder.name}: as it was written and signed")
    elif checked.sound:
        unsigned = "nobody signed it, so that whoever can write here can have made both"
        more = "give --key to check who signed it" if (folder / SIGNATURE).exists() else unsigned
        print(f"{folder.name}: the files are what the manifest says; {more}")
    raise typer.Exit(0 if checked.sound else _UNSOUND)


def _public(key: Path | None, private_key: Path | None) -> bytes | None:
    if key is not None:
        try:
            return key.read_bytes()
        except OSError as error:
            raise ConfigError(f"--key {key}: can't be read ({error.strerror}); check the path") from error
    if private_key is None:
        return None
    from monitor.audits.signing import public_key_of

    return public_key_of(private_key).encode()
