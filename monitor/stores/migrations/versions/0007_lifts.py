"""Quarantines that a person lifts."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, String

revision, down_revision = "0007", "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "lifts",
        Column("target", String, primary_key=True), Column("incident", String, nullable=False),
        Column("by", String, nullable=False), Column("at", String, nullable=False),
        Column("why", String, nullable=False),
    )  # fmt: skip
