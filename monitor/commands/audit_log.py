"""``alignd audit log`` and ``alignd audit verify``: who did what, and is that all of it?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.moments import moment_of
from monitor.commands.serving import CONFIG, ConfigFile
from monitor.plain_text import plain
from monitor.settings import load_settings

if TYPE_CHECKING:  # so that `--help` stays quick
    from monitor.audit import SealedEntry

__all__ = ["log", "verify"]

_BROKEN = 1
_LINE = 400


def log(
    config: ConfigFile = CONFIG,
    *,
    subject: Annotated[str, typer.Option(help="An incident, a target or a release.")] = "",
    actor: Annotated[str, typer.Option(help="Who; alignd for the daemon itself.")] = "",
    action: Annotated[str, typer.Option(help="What was done, e.g. order_placed.")] = "",
    since: Annotated[str, typer.Option(help="First day or time, e.g. 2026-01-31 or 2026-01-31T12:00Z.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the audit log: who did what to what, oldest first."""
    from monitor.stores.sql import SqlStore

    begin = moment_of(since, "--since") if since else None
    store = SqlStore(load_settings(config).store.url)
    try:
        found = store.audit_log(subject=subject, actor=actor, action=action, since=begin, limit=limit)
    finally:
        store.close()
    for entry in found:
        print(json.dumps(entry.to_json()) if as_json else _line(entry))


def verify(
    config: ConfigFile = CONFIG,
    *,
    head: Annotated[str, typer.Option(help="Hash printed earlier and kept elsewhere; must still be there.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read the whole audit log and say whether any entry was changed, removed, added or moved.

    Keep the printed hash where the daemon's host can't write, and give it as --head next time: only that tells whether
    entries were cut off at the end. Exit code: 0 intact, 1 broken.
    """
    from monitor.audit import verify as verified
    from monitor.stores.sql import SqlStore

    store = SqlStore(load_settings(config).store.url)
    try:
        verdict = verified(store.audit_chain(), head=head)
    finally:
        store.close()
    if as_json:
        print(json.dumps(verdict.to_json()))
    elif verdict.intact:
        print(f"intact: {verdict.entries} entries, the last one's hash is\n{verdict.head}")
    else:
        print(f"broken: {verdict.why}; {verdict.entries} entries before that are intact, the last one's hash is\n"
              f"{verdict.head}")  # fmt: skip
    raise typer.Exit(0 if verdict.intact else _BROKEN)


def _line(entry: SealedEntry) -> str:
    details = ", ".join(f"{key} {value}" for key, value in entry.to_json()["details"].items())
    said = f"{entry.actor} {entry.action} {entry.subject}" + (f": {details}" if details else "")
    return f"{entry.seq:>6} {entry.at[:19]}Z {plain(said, most=_LINE)}"
