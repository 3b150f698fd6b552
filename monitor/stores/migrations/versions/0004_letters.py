"""Letters to channels, and the conditions that were told of."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer, String, Text

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    """Make the tables; of what happened before nobody is told."""
    op.create_table(
        "letters",
        Column("id", Integer, primary_key=True), Column("channel", String, nullable=False),
        Column("notification", String, nullable=False), Column("at", String, nullable=False),
        Column("state", String, nullable=False), Column("failures", Integer, nullable=False),
        Column("not_before", String, nullable=False), Column("why", Text, nullable=False),
        Column("body", Text, nullable=False),
    )  # fmt: skip
    op.create_index("one_letter_of_each", "letters", ["channel", "notification"], unique=True)
    op.create_index("letters_by_state", "letters", ["channel", "state"])
    op.create_table(
        "conditions",
        Column("target", String, primary_key=True), Column("kind", String, primary_key=True),
        Column("subject", String, primary_key=True),
    )  # fmt: skip
