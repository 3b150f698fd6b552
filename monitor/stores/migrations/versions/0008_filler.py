"""What a try at writing writes."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, String

revision, down_revision = "0008", "0007"


def upgrade() -> None:
    """Make the table."""
    op.create_table("filler", Column("text", String, nullable=False))
