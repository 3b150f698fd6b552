"""Queries that nobody vouches for: each ends soon, reads nothing but its tables and breaks nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.tasks.sqlite import Database, columns_of, fetch

DATABASE = Database(
    schema="CREATE TABLE t (a TEXT, b TEXT, c INTEGER)", rows={"t": [[str(i), f"b{i}", i] for i in range(24)]}
)
CROSSED = "t t1, t t2, t t3, t t4"


def second(query: str) -> object:
    ((first, found),) = fetch([DATABASE], "SELECT a FROM t", query)
    assert first is None or len(first) == 24
    return found


def nested(depth: int) -> str:
    query = "SELECT c FROM t"
    for _ in range(depth):
        query = f"SELECT {'+'.join('c' * 40)} AS c FROM ({query})"
    return query


def chained(depth: int) -> str:
    parts = "".join(f", a{i} AS (SELECT p.x FROM a{i - 1} p, a{i - 1} q)" for i in range(1, depth))
    return f"WITH a0 AS (SELECT 1 x){parts} SELECT * FROM a{depth - 1}"


def test_queries_that_only_read_run() -> None:
    assert second("SELECT COUNT(*) FROM t WHERE c > 20") == [(3,)]
    assert second("SELECT MAX(c) FROM t WHERE c < (SELECT AVG(c) FROM t)") == [(11,)]
    assert second("WITH x AS (SELECT c FROM t WHERE c < 2) SELECT SUM(c) FROM x") == [(1,)]
    assert second("SELECT x'ff', (SELECT 1.5), (SELECT NULL), (SELECT 'é')") == [(b"\xff", 1.5, None, "é")]


@pytest.mark.parametrize(
    "query",
    [
        nested(6),
        chained(40),
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
        f"SELECT COUNT(*) FROM {CROSSED}, t t5, t t6",
        f"SELECT COUNT(replace(replace(t1.a||'{'a' * 4000}','aa','aaa'),'{'a' * 2000}c','b')) FROM {CROSSED}",
        f"SELECT DISTINCT t1.a||t2.a||t3.a||'{'x' * 9000}' FROM {CROSSED} ORDER BY 1",
        f"SELECT COUNT(t1.a||'{'a' * 5000}' LIKE '{'%a' * 2000}b') FROM {CROSSED}",
        "SELECT printf('%.*c', 2000000000, 'x')",
        "SELECT format('%.*c', 2000000000, 'x')",
        "SELECT hex(randomblob(1000000000))",
        "SELECT length(zeroblob(1000000000))",
        "SELECT load_extension('x')",
        "SELECT (SELECT load_extension('x'))",
        "ATTACH 'x' AS y",
        "PRAGMA writable_schema = 1",
        "SELECT * FROM pragma_table_info('t')",
        "VACUUM INTO 'x'",
        "INSERT INTO t VALUES (1, 2, 3)",
        "DELETE FROM t",
        "DROP TABLE t",
        "CREATE TABLE x (a)",
        "SELECT a FROM t; SELECT a FROM t",
        "SELECT a FROM t\x00",
        "SELECT '\ud800'",
        "SELECT '\ud800', (SELECT 1)",
        "SELECT CAST(x'ff' AS TEXT)",
        "SELECT " + "(" * 5000,
        "SELECT " + "NOT " * 2000 + "1",
        "SELECT '" + "x" * 2_000_000 + "'",
        "SELECT ?",
    ],
    ids=lambda q: q[:40],
)
def test_hostile_queries_give_nothing(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    assert second(query) is None
    assert time.monotonic() - began < 30
    assert not list(tmp_path.iterdir())


def test_no_more_rows_are_read_than_tell_a_difference() -> None:
    found = second(f"SELECT t1.a FROM {CROSSED}")
    assert isinstance(found, list)
    assert len(found) == 25


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (a); ATTACH 'x' AS y",
        "CREATE TABLE t AS SELECT 1 a",
        "CREATE TABLE t (a); INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a); CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE VIEW v AS SELECT 1",
        "PRAGMA journal_mode = wal",
        "DROP TABLE t",
        "CREATE TABLE t (a",
        "CREATE TABLE t (to TEXT)",
        "CREATE TABLE t (a\x00)",
        "CREATE TABLE t (a TEXT DEFAULT '" + "x" * 20_000 + "')",
    ],
)
def test_schemas_only_create_tables(schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fetch([Database(schema=schema, rows={})], "SELECT 1", "SELECT 1") == [(None, None)]
    assert not list(tmp_path.iterdir())


def test_a_schema_says_which_columns_are_stored() -> None:
    schema = 'CREATE TABLE a (id INTEGER PRIMARY KEY, "odd ""name" VARCHAR, d AS (id + 1)); CREATE TABLE b (x)'
    assert columns_of(schema) == {"a": [("id", "INTEGER"), ('odd "name', "VARCHAR")], "b": [("x", "")]}


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet=" ()*,'\"=;abct0%", max_size=60), st.booleans())
def test_any_text_is_a_query_or_nothing(text: str, deep: bool) -> None:
    found = second(f"SELECT (SELECT 1) {text}" if deep and len(text) < 3 else f"SELECT {text}")
    assert found is None or isinstance(found, list)
