"""Versions of the schema: which one a database is of, and how it gets to the newest.

An empty database is made from the tables as they are now; an older one is led there by the scripts in ``migrations``.
A test holds the two against each other. Alembic is imported where there is something to migrate, and only there.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select

from monitor.errors import StoreVersion
from monitor.stores.schema import META, VERSION

__all__ = ["EMPTY", "UNNUMBERED", "bring_up", "check_version", "known_versions", "version_of"]

EMPTY, UNNUMBERED = "", "0000"
"""Nothing was written yet; written before versions had numbers."""
_SCRIPTS = Path(__file__).parent / "migrations"


def known_versions() -> tuple[str, ...]:
    """Return the numbers of the migration scripts, in order; the last one is what this program writes."""
    return tuple(sorted(script.name[:4] for script in (_SCRIPTS / "versions").glob("[0-9]*.py")))


def version_of(db: Connection, name: str) -> str:
    """Return the version of a database.

    Raises:
        StoreVersion: It holds tables, and none of them is ours.
    """
    tables = set(inspect(db).get_table_names())
    if VERSION.name in tables and (found := db.scalar(select(VERSION.c.version_num))):
        return str(found)
    if tables & set(META.tables) - {VERSION.name}:
        return UNNUMBERED
    if tables - {VERSION.name}:
        raise StoreVersion(
            f"store {name} holds tables of another program ({', '.join(sorted(tables)[:3])}); give another store.url"
        )
    return EMPTY


def check_version(found: str, name: str) -> None:
    """Accept the newest version.

    Raises:
        StoreVersion: It is another one; the message names the way out.
    """
    newest = known_versions()[-1]
    if found in {*known_versions()[:-1], UNNUMBERED}:
        raise StoreVersion(
            f"store {name} is of version {found} and this alignd reads {newest}; the daemon upgrades it at its start, "
            "or run `alignd store upgrade` while none runs"
        )
    if found != newest:
        raise StoreVersion(
            f"store {name} was written by a newer alignd (version {found}; this one knows {newest} and older): run "
            "that alignd, or put back a copy from before the upgrade"
        )


def bring_up(db: Connection, name: str) -> str:
    """Make what is missing or older the newest version, all in the caller's transaction.

    Returns:
        The version before.

    Raises:
        StoreVersion: It is of a newer version, or older than any that is known.
    """
    found, newest = version_of(db, name), known_versions()[-1]
    if found == EMPTY:
        META.create_all(db)
        db.execute(insert(VERSION).values(version_num=newest))
    elif found == UNNUMBERED or found in known_versions()[:-1]:
        _migrate(db, name)
    else:
        check_version(found, name)
    return found


def _migrate(db: Connection, name: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": db, "name": name})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    command.upgrade(config, "head")
