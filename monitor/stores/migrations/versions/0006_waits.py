"""What an incident waits for stands in its events as a field; before, it was read from how their notes began."""

from __future__ import annotations

import json

from alembic import op
from sqlalchemy import Column, String, column, select, table, update

revision, down_revision = "0006", "0005"

_INCIDENTS = table("incidents", column("id"), column("body"))
_BEGINNINGS = (
    ("action needed: `alignd approve ", "approval"), ("action needed", "person"), ("held by ", "rails"),
)  # fmt: skip
"""As these notes began until then; the first that fits says what was waited for."""


def upgrade() -> None:
    """Add it, and fill it in where incidents are read; rows of ``events`` are a record and stay as they were."""
    op.add_column("events", Column("waits_for", String))
    db = op.get_bind()
    for row in db.execute(select(_INCIDENTS)).all():
        body = json.loads(row.body)
        for event in body["events"]:
            event["waits_for"] = next((wait for words, wait in _BEGINNINGS if event["note"].startswith(words)), None)
        if any(event["waits_for"] for event in body["events"]):
            db.execute(update(_INCIDENTS).where(_INCIDENTS.c.id == row.id).values(body=json.dumps(body)))
