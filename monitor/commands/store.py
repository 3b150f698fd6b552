"""``alignd store``: is what the monitor remembers whole, and of which version?"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from monitor.commands.serving import CONFIG, ConfigFile
from monitor.settings import load_settings

__all__ = ["app"]

_DAMAGED = 1

app = typer.Typer(help="Look at what the monitor remembers, or upgrade it.", no_args_is_help=True)


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
