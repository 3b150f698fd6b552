"""Tables of the SQL store. Audit entries, events, probes, judge checks and looks are append-only, by triggers.

Who changes a table here writes a script in ``migrations``, too; see ``docs/howto/store.md``.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    event,
    func,
    select,
    text,
)

from monitor.stores.append_only import append_only

__all__ = [
    "AUDIT", "BASELINES", "BREAKER_RESETS", "CONDITIONS", "EPOCHS", "EVENTS", "FILLER", "HOLDERS", "INCIDENTS",
    "IN_AN_EPOCH", "JUDGED", "LETTERS", "LIFTS", "LOOKS", "META", "ORDERS", "PAUSES", "PLACE", "PROBES",
    "RELEASES", "SPENDING", "VERSION",
]  # fmt: skip

META = MetaData()
VERSION = Table(
    "alembic_version", META, Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)  # fmt: skip
"""As Alembic makes it."""
INCIDENTS = Table(
    "incidents", META,
    Column("id", String, primary_key=True), Column("target", String, nullable=False),
    Column("opened_at", String, nullable=False), Column("state", String, nullable=False),
    Column("closed", Boolean, nullable=False), Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("base", String), Column("began_at", String), Column("ended_at", String),
)  # fmt: skip
"""Base, beginning and end are what rails ask of a repair; they stand in the body, too."""
Index("one_open_incident", INCIDENTS.c.target, unique=True, sqlite_where=text("closed = 0"))
EVENTS = Table(
    "events", META,
    Column("id", Integer, primary_key=True), Column("incident", String, nullable=False, index=True),
    Column("version", Integer, nullable=False), Column("at", String, nullable=False),
    Column("state", String, nullable=False), Column("note", Text, nullable=False), Column("waits_for", String),
)  # fmt: skip
"""What an event waits for is null where it was written before events said so, and empty where it waits for nothing."""
EPOCHS = Table(
    "epochs", META,
    Column("id", Integer, primary_key=True), Column("target", String, nullable=False, index=True),
    Column("release", String, nullable=False), Column("key", String, nullable=False),
    Column("started_at", String, nullable=False), Column("baseline", Text),
)  # fmt: skip
PROBES = Table(
    "probes", META,
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
"""Databases take the index of records only for queries that say this in so many words."""
Index("one_record", PROBES.c.epoch, PROBES.c.purpose, PROBES.c.position, unique=True, sqlite_where=IN_AN_EPOCH)
BASELINES = Table(
    "baselines", META,
    Column("target", String, primary_key=True), Column("release", String, primary_key=True),
    Column("key", String, primary_key=True), Column("at", String, nullable=False), Column("body", Text, nullable=False),
)  # fmt: skip
PAUSES = Table(
    "pauses", META,
    Column("target", String, primary_key=True), Column("until", String), Column("by", String, nullable=False),
    Column("at", String, nullable=False), Column("why", String, nullable=False, server_default=""),
)  # fmt: skip
BREAKER_RESETS = Table(
    "breaker_resets", META,
    Column("id", Integer, primary_key=True), Column("target", String, nullable=False, index=True),
    Column("at", String, nullable=False), Column("by", String, nullable=False), Column("why", String, nullable=False),
)  # fmt: skip
SPENDING = Table(
    "spending", META,
    Column("target", String, primary_key=True), Column("day", String, primary_key=True),
    Column("tokens", Integer, nullable=False),
)  # fmt: skip
RELEASES = Table(
    "releases", META,
    Column("target", String, primary_key=True), Column("release", String, primary_key=True),
    Column("good", Boolean, nullable=False), Column("marked_at", String, nullable=False),
    Column("profile", Text), Column("profile_key", String, nullable=False),
)  # fmt: skip
ORDERS = Table(
    "orders", META,
    Column("id", Integer, primary_key=True), Column("incident", String, nullable=False, index=True),
    Column("word", String, nullable=False), Column("by", String, nullable=False),
    Column("at", String, nullable=False), Column("done", Boolean, nullable=False),
)  # fmt: skip
JUDGED = Table(
    "judge_checks", META,
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
    "looks", META,
    Column("id", Integer, primary_key=True), Column("target", String, nullable=False),
    Column("epoch", Integer, nullable=False), Column("key", String, nullable=False),
    Column("position", Integer, nullable=False), Column("at", String, nullable=False),
    Column("missing", String, nullable=False), Column("readings", Text, nullable=False), Column("score", Float),
)  # fmt: skip
AUDIT = Table(
    "audit", META,
    Column("seq", Integer, primary_key=True, autoincrement=False), Column("at", String, nullable=False),
    Column("actor", String, nullable=False), Column("action", String, nullable=False),
    Column("subject", String, nullable=False, index=True), Column("details", Text, nullable=False),
    Column("previous", String(64), nullable=False), Column("hash", String(64), nullable=False),
)  # fmt: skip
Index("one_look_at_a_place", LOOKS.c.target, LOOKS.c.epoch, LOOKS.c.key, LOOKS.c.position, unique=True)
LETTERS = Table(
    "letters", META,
    Column("id", Integer, primary_key=True), Column("channel", String, nullable=False),
    Column("notification", String, nullable=False), Column("at", String, nullable=False),
    Column("state", String, nullable=False), Column("failures", Integer, nullable=False),
    Column("not_before", String, nullable=False), Column("why", Text, nullable=False),
    Column("body", Text, nullable=False),
)  # fmt: skip
Index("one_letter_of_each", LETTERS.c.channel, LETTERS.c.notification, unique=True)
Index("letters_by_state", LETTERS.c.channel, LETTERS.c.state)
CONDITIONS = Table(
    "conditions", META,
    Column("target", String, primary_key=True), Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
)  # fmt: skip
LIFTS = Table(
    "lifts", META,
    Column("target", String, primary_key=True), Column("incident", String, nullable=False),
    Column("by", String, nullable=False), Column("at", String, nullable=False), Column("why", String, nullable=False),
)  # fmt: skip
HOLDERS = Table(
    "holders", META,
    Column("number", Integer, primary_key=True, autoincrement=False), Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
)  # fmt: skip
"""Daemons that took the store, in order; only the last one may write."""
FILLER = Table("filler", META, Column("text", String, nullable=False))
"""What a try at writing wrote, one row; it says nothing."""


def _keep(table: Table, connection: Connection, **_: object) -> None:
    for statement in append_only(table.name, connection.dialect.name):
        connection.exec_driver_sql(statement)


for _table in (AUDIT, BREAKER_RESETS, EVENTS, HOLDERS, JUDGED, LOOKS, PROBES):
    event.listen(_table, "after_create", _keep)

PLACE = (
    select(func.min(EVENTS.c.id)).where(EVENTS.c.incident == INCIDENTS.c.id).correlate(INCIDENTS).scalar_subquery()
)
"""Where an incident stands among all, by its first event: the clock may be set back, and an open one is the newest."""
