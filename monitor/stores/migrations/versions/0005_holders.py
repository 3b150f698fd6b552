"""Who took the store, so that a daemon that lost it finds out before it writes."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer, String

from monitor.stores.append_only import append_only

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "holders", Column("number", Integer, primary_key=True, autoincrement=False),
        Column("host", String, nullable=False), Column("pid", Integer, nullable=False),
    )  # fmt: skip
    for statement in append_only("holders", op.get_bind().dialect.name):
        op.execute(statement)
