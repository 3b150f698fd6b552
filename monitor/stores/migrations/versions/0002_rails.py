"""What rails ask: when repairs began and ended, and of which base; why a target is paused; resets of breakers."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer, String

from monitor.stores.append_only import append_only

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Add them; incidents of before have no repair that counts."""
    for name in ("base", "began_at", "ended_at"):
        op.add_column("incidents", Column(name, String))
    op.add_column("pauses", Column("why", String, nullable=False, server_default=""))
    op.create_table(
        "breaker_resets",
        Column("id", Integer, primary_key=True), Column("target", String, nullable=False, index=True),
        Column("at", String, nullable=False), Column("by", String, nullable=False),
        Column("why", String, nullable=False),
    )  # fmt: skip
    for statement in append_only("breaker_resets", op.get_bind().dialect.name):
        op.execute(statement)
