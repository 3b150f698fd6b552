"""Triggers that keep a table's rows as they were written."""

from __future__ import annotations

__all__ = ["append_only"]

_REFUSE = """CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE integrity_constraint_violation USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"""


def append_only(table: str, dialect: str) -> tuple[str, ...]:
    """Return the statements that make a table refuse changes and removals.

    Args:
        table: Its name, from code and never from outside.
        dialect: SQLAlchemy's name of the kind of database.
    """
    if dialect == "postgresql":
        trigger = f"CREATE OR REPLACE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        return _REFUSE, f"{trigger} FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
    return tuple(
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    )
