"""The first numbered version; also leads here what was written before versions had numbers.

The tables stand here as they were then, so that later changes of ``schema`` don't change this step.
"""

from __future__ import annotations

from alembic import context, op
from sqlalchemy import Boolean, Column, Connection, Float, Index, Integer, MetaData, String, Table, Text, inspect, text

from monitor.errors import StoreVersion
from monitor.stores.append_only import append_only

revision, down_revision = "0001", None

THEN = MetaData()
INCIDENTS = Table(
    "incidents", THEN,
    Column("id", String, primary_key=True), Column("target", String, nullable=False),
    Column("opened_at", String, nullable=False), Column("state", String, nullable=False),
    Column("closed", Boolean, nullable=False), Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
)  # fmt: skip
Index("one_open_incident", INCIDENTS.c.target, unique=True, sqlite_where=text("closed = 0"),
      postgresql_where=text("NOT closed"))  # fmt: skip
EVENTS = Table(
    "events", THEN,
    Column("id", Integer, primary_key=True), Column("incident", String, nullable=False, index=True),
    Column("version", Integer, nullable=False), Column("at", String, nullable=False),
    Column("state", String, nullable=False), Column("note", Text, nullable=False),
)  # fmt: skip
EPOCHS = Table(
    "epochs", THEN,
    Column("id", Integer, primary_key=True), Column("target", String, nullable=False, index=True),
    Column("release", String, nullable=False), Column("key", String, nullable=False),
    Column("started_at", String, nullable=False), Column("baseline", Text),
)  # fmt: skip
PROBES = Table(
    "probes", THEN,
    Column("id", Integer, primary_key=True), Column("target", String, nullable=False),
    Column("epoch", Integer, nullable=False), Column("position", Integer, nullable=False),
    Column("sweep", String, nullable=False, index=True),
    Column("at", String, nullable=False), Column("purpose", String, nullable=False),
    Column("release", String, nullable=False), Column("suite", String, nullable=False),
    Column("behavior", String, nullable=False), Column("category", String, nullable=False),
    Column("attack", String, nullable=False), Column("judge", String, nullable=False),
    Column("seed", Integer, nullable=False), Column("harmful", Boolean), Column("score", Float),
    Column("missing", String, nullable=False), Column("probability", Float, nullable=False),
    Column("tokens", Integer, nullable=False), Column("weight", Float, nullable=False),
    Column("sampled", Boolean, nullable=False), Column("stream", String, nullable=False),
    Column("share", Float, nullable=False), Column("before", Boolean),
)  # fmt: skip
IN_AN_EPOCH = text("epoch > 0")
Index("one_record", PROBES.c.epoch, PROBES.c.purpose, PROBES.c.position, unique=True, sqlite_where=IN_AN_EPOCH,
      postgresql_where=IN_AN_EPOCH)  # fmt: skip
BASELINES = Table(
    "baselines", THEN,
    Column("target", String, primary_key=True), Column("release", String, primary_key=True),
    Column("key", String, primary_key=True), Column("at", String, nullable=False), Column("body", Text, nullable=False),
)  # fmt: skip
PAUSES = Table(
    "pauses", THEN,
    Column("target", String, primary_key=True), Column("until", String), Column("by", String, nullable=False),
    Column("at", String, nullable=False),
)  # fmt: skip
SPENDING = Table(
    "spending", THEN,
    Column("target", String, primary_key=True), Column("day", String, primary_key=True),
    Column("tokens", Integer, nullable=False),
)  # fmt: skip
RELEASES = Table(
    "releases", THEN,
    Column("target", String, primary_key=True), Column("release", String, primary_key=True),
    Column("good", Boolean, nullable=False), Column("marked_at", String, nullable=False),
    Column("profile", Text), Column("profile_key", String, nullable=False),
)  # fmt: skip
ORDERS = Table(
    "orders", THEN,
    Column("id", Integer, primary_key=True), Column("incident", String, nullable=False, index=True),
    Column("word", String, nullable=False), Column("by", String, nullable=False),
    Column("at", String, nullable=False), Column("done", Boolean, nullable=False),
)  # fmt: skip
JUDGED = Table(
    "judge_checks", THEN,
    Column("id", Integer, primary_key=True), Column("target", String, nullable=False),
    Column("series", Integer, nullable=False), Column("position", Integer, nullable=False),
    Column("kind", String, nullable=False), Column("judge", String, nullable=False),
    Column("template_sha256", String, nullable=False), Column("data_sha256", String, nullable=False),
    Column("row", String, nullable=False), Column("label", Boolean, nullable=False), Column("called", Boolean),
    Column("missing", String, nullable=False), Column("at", String, nullable=False),
    Column("by", String, nullable=False),
)  # fmt: skip
Index("one_verdict_at_a_place", JUDGED.c.target, JUDGED.c.series, JUDGED.c.position, unique=True)
LOOKS = Table(
    "looks", THEN,
    Column("id", Integer, primary_key=True), Column("target", String, nullable=False),
    Column("epoch", Integer, nullable=False), Column("key", String, nullable=False),
    Column("position", Integer, nullable=False), Column("at", String, nullable=False),
    Column("missing", String, nullable=False), Column("readings", Text, nullable=False), Column("score", Float),
)  # fmt: skip
Index("one_look_at_a_place", LOOKS.c.target, LOOKS.c.epoch, LOOKS.c.key, LOOKS.c.position, unique=True)


def upgrade() -> None:
    """Make what is not there."""
    db = op.get_bind()
    _check_columns(db)
    THEN.create_all(db)
    for table in THEN.tables.values():
        for index in table.indexes:
            index.create(db, checkfirst=True)
    for name in ("events", "probes", "judge_checks", "looks"):
        for statement in append_only(name, db.dialect.name):
            db.exec_driver_sql(statement)


def _check_columns(db: Connection) -> None:
    found = inspect(db)
    there = set(found.get_table_names())
    lacking = [
        f"{table.name}.{column.name}"
        for table in THEN.sorted_tables
        if table.name in there
        for column in table.columns
        if column.name not in {c["name"] for c in found.get_columns(table.name)}
    ]
    if lacking:
        raise StoreVersion(
            f"store {context.config.attributes['name']} was written by an alignd that is too old to upgrade (it lacks "
            f"{', '.join(lacking)}); move it away, and the daemon begins a new one"
        )
