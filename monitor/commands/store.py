"""``alignd store``: is what the monitor remembers whole, of which version, and how it moves to another database."""

from __future__ import annotations

import getpass
import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from monitor.commands.serving import CONFIG, ConfigFile
from monitor.settings import load_settings

__all__ = ["app"]

_DAMAGED = 1

app = typer.Typer(help="Look at what the monitor remembers, upgrade it, or copy it elsewhere.", no_args_is_help=True)


@app.command()
def check(
    config: ConfigFile = CONFIG,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which version the store is of, whether it is whole, and how much is in it; changes nothing.

    Exit code: 0 whole, 1 damaged.
    """
    from monitor.stores.database import Database

    database = Database(load_settings(config).store.url)
    try:
        found = database.look()
    finally:
        database.close()
    if as_json:
        print(json.dumps({"store": database.name, **found.to_json()}, indent=2))
    else:
        print(f"store {database.name}: version {found.version}, this alignd writes {found.newest}")
        print("\n".join(f"{count:>10} {table}" for table, count in found.rows.items()))
        print("\n".join(f"damaged: {fault}" for fault in found.faults) or "whole")
    raise typer.Exit(_DAMAGED if found.faults else 0)


@app.command()
def upgrade(config: ConfigFile = CONFIG) -> None:
    """Bring an older store to this version, all or nothing. No daemon may run on it meanwhile; copy it first."""
    from monitor.stores.database import Database

    database = Database(load_settings(config).store.url)
    try:
        before, after = database.hold()
    finally:
        database.close()
    known = f"from version {before or 'nothing'} to {after}"
    print(f"store {database.name}: {f'is of version {after} already' if before == after else f'upgraded {known}'}")


@app.command()
def copy(
    to: Annotated[str, typer.Argument(metavar="URL", help="The store to fill, as `store.url` would name it; empty.")],
    config: ConfigFile = CONFIG,
) -> None:
    """Copy the whole store into another, empty one: from SQLite to PostgreSQL, say. No daemon may run on it meanwhile.

    All or nothing: stopped at any moment, the other one is empty still. The store itself stays as it is.
    """
    from monitor.audit import AuditEntry
    from monitor.stores.copying import copy_store
    from monitor.stores.database import Database

    with closing(Database(load_settings(config).store.url)) as source, closing(Database(to)) as target:
        entry = AuditEntry(
            at=datetime.now(UTC), actor=getpass.getuser(), action="store_copied", subject=target.name,
            details={"from": source.name},
        )  # fmt: skip
        rows = copy_store(source, target, entry=entry)
        print("\n".join(f"{count:>10} {table}" for table, count in rows.items()))
        print(f"copied {source.name} to {target.name}; give the daemon that store.url now, and start it")
