"""The audit log."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer, String, Text

from monitor.stores.append_only import append_only

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    """Make the table; what happened before stands in ``events``."""
    op.create_table(
        "audit", Column("seq", Integer, primary_key=True, autoincrement=False), Column("at", String, nullable=False),
        Column("actor", String, nullable=False), Column("action", String, nullable=False),
        Column("subject", String, nullable=False), Column("details", Text, nullable=False),
        Column("previous", String(64), nullable=False), Column("hash", String(64), nullable=False),
    )  # fmt: skip
    op.create_index("ix_audit_subject", "audit", ["subject"])
    for statement in append_only("audit", op.get_bind().dialect.name):
        op.execute(statement)
