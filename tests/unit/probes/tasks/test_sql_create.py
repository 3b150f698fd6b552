"""sql-create-context: references pass, near misses don't, and what can't be checked is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probes.errors import SuiteError
from probes.task import Task
from probes.tasks import sql_create
from probes.tasks.sql_create_data import filled
from probes.tasks.sqlite import fetch
from probes.testing import check_task
from tests.unit.probes.tasks.replies import BAD_BYTES, answer_of, graded, write_jsonl

HEADS = "CREATE TABLE head (name VARCHAR, born_state VARCHAR, age INTEGER)"
JOINED = (
    "CREATE TABLE department (department_id VARCHAR, name VARCHAR, budget VARCHAR); "
    "CREATE TABLE management (department_id VARCHAR, head_id VARCHAR); "
    "CREATE TABLE head (head_id VARCHAR, name VARCHAR, born_state VARCHAR)"
)
MATCHES = "CREATE TABLE table_name_12 (home_team VARCHAR, away_team VARCHAR, crowd INTEGER, venue VARCHAR)"

CASES: dict[str, tuple[str, str, list[str], list[str]]] = {
    "count": (
        HEADS, "SELECT COUNT(*) FROM head WHERE age > 56",
        ["select count(name) from head where not age <= 56"],
        ["SELECT COUNT(*) FROM head WHERE age >= 56", "SELECT COUNT(*) FROM head WHERE age < 56", "SELECT 0",
         "SELECT COUNT(*) FROM head", "SELECT COUNT(DISTINCT name) FROM head WHERE age > 56",
         "SELECT SUM(age) FROM head WHERE age > 56"],
    ),
    "three-conditions": (
        MATCHES,
        'SELECT AVG(crowd) FROM table_name_12 WHERE home_team = "geelong" AND away_team = "carlton" AND venue = "park"',
        [("SELECT SUM(crowd) * 1.0 / COUNT(*) FROM table_name_12 WHERE venue = 'park' AND away_team = 'carlton' "
         "AND home_team = 'geelong'")],
        ["SELECT AVG(crowd) FROM table_name_12 WHERE home_team = 'geelong' AND away_team = 'carlton'",
         "SELECT AVG(crowd) FROM table_name_12 WHERE home_team = 'geelong' AND venue = 'park'",
         ("SELECT MAX(crowd) FROM table_name_12 WHERE home_team = 'geelong' AND away_team = 'carlton' "
         "AND venue = 'park'"),
         ("SELECT AVG(crowd) FROM table_name_12 WHERE home_team = 'carlton' AND away_team = 'geelong' "
         "AND venue = 'park'")],
    ),
    "order": (
        HEADS, "SELECT name FROM head ORDER BY age DESC LIMIT 1",
        ["SELECT name FROM head WHERE age = (SELECT MAX(age) FROM head)"],
        ["SELECT name FROM head ORDER BY age LIMIT 1", "SELECT name FROM head ORDER BY name DESC LIMIT 1",
         "SELECT name FROM head", "SELECT born_state FROM head ORDER BY age DESC LIMIT 1"],
    ),
    "order-all": (
        HEADS, "SELECT name, age FROM head ORDER BY age",
        ["SELECT name, age FROM head ORDER BY age ASC"],
        ["SELECT name, age FROM head", "SELECT age, name FROM head ORDER BY age"],
    ),
    "join": (
        JOINED,
        ("SELECT T1.name FROM department AS T1 JOIN management AS T2 ON T1.department_id = T2.department_id "
        "JOIN head AS T3 ON T2.head_id = T3.head_id WHERE T3.born_state = 'Alabama'"),
        [("SELECT d.name FROM head h, management m, department d WHERE h.born_state = 'Alabama' "
         "AND m.head_id = h.head_id AND d.department_id = m.department_id")],
        ["SELECT T1.name FROM department AS T1 JOIN management AS T2 ON T1.department_id = T2.department_id",
         "SELECT name FROM department", "SELECT name FROM head WHERE born_state = 'Alabama'"],
    ),
    "not-in": (
        JOINED, "SELECT name FROM department WHERE NOT department_id IN (SELECT department_id FROM management)",
        [("SELECT d.name FROM department d LEFT JOIN management m ON d.department_id = m.department_id "
         "WHERE m.department_id IS NULL")],
        ["SELECT name FROM department", ("SELECT name FROM department WHERE department_id IN "
         "(SELECT department_id FROM management)")],
    ),
    "group": (
        HEADS, "SELECT born_state, AVG(age) FROM head GROUP BY born_state",
        ["SELECT born_state, SUM(age) / (1.0 * COUNT(age)) FROM head GROUP BY 1 ORDER BY 2"],
        ["SELECT born_state, MAX(age) FROM head GROUP BY born_state", "SELECT name, AVG(age) FROM head GROUP BY name"],
    ),
    "having": (
        HEADS, "SELECT born_state FROM head GROUP BY born_state HAVING COUNT(*) >= 3",
        ["SELECT born_state FROM head GROUP BY born_state HAVING COUNT(*) > 2"],
        ["SELECT DISTINCT born_state FROM head WHERE born_state IS NULL", "SELECT born_state FROM head"],
    ),
    "like": (
        HEADS, "SELECT name FROM head WHERE born_state LIKE '%new%' AND age BETWEEN 40 AND 50",
        ["SELECT name FROM head WHERE age >= 40 AND age <= 50 AND born_state LIKE '%NEW%'"],
        ["SELECT name FROM head WHERE born_state LIKE '%n%' AND age BETWEEN 40 AND 50",
         "SELECT name FROM head WHERE age BETWEEN 40 AND 50", "SELECT name FROM head WHERE born_state LIKE '%new%'",
         "SELECT name FROM head WHERE born_state = 'new' AND age > 40 AND age < 50"],
    ),
    "null": (
        HEADS, "SELECT COUNT(*) FROM head WHERE born_state IS NULL",
        ["SELECT SUM(born_state IS NULL) FROM head"],
        ["SELECT COUNT(*) FROM head", "SELECT COUNT(born_state) FROM head"],
    ),
}  # fmt: skip


def row(context: str, answer: str, question: str = "Which?") -> dict[str, str]:
    return {"question": question, "context": context, "answer": answer}


def made(folder: Path, *rows: object, **options: int) -> Task:
    return sql_create.make(sql_create.Options(path=write_jsonl(folder / "t.jsonl", *rows), **options))


@pytest.mark.parametrize("name", CASES)
async def test_right_queries_pass_and_near_misses_fail(tmp_path: Path, name: str) -> None:
    context, reference, right, wrong = CASES[name]
    task = made(tmp_path, row(context, reference))
    found = await graded(task, reference, *right, *wrong)
    qualities = [j.quality for j in found]
    assert qualities == [1.0] * (1 + len(right)) + [0.0] * len(wrong)


async def test_the_task_keeps_its_port(tmp_path: Path) -> None:
    rows = [row(context, reference) for context, reference, _, _ in CASES.values()]
    (tmp_path / "array.json").write_text(json.dumps(rows))
    task = sql_create.make(sql_create.Options(path=tmp_path / "array.json"))
    assert (len(task.suite.behaviors), task.left_out) == (len(CASES), 0)
    await check_task(
        lambda: sql_create.make(sql_create.Options(path=tmp_path / "array.json")),
        reference=lambda b: f"```sql\n{answer_of(b, 'sql')};\n```",
    )


@pytest.mark.parametrize(
    ("reply", "query"),
    [
        ("SELECT 1", "SELECT 1"), ("select 1;", "select 1"), ("```sql\nSELECT 1;\n```", "SELECT 1"),
        ("Here it is:\n\n```\nSELECT a\nFROM t\n```\nIt reads a.", "SELECT a\nFROM t"),
        ("Sure.\nSELECT a FROM t;\nThat is all.", "SELECT a FROM t"), ("SELECT a\n\nI hope it helps.", "SELECT a"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x"),
        ("I can't help with that.", ""), ("", ""), ("selection", ""), ("DROP TABLE t", ""), ("```", ""),
    ],
)  # fmt: skip
def test_the_query_in_a_reply(reply: str, query: str) -> None:
    assert sql_create.query_of(reply) == query


async def test_hostile_replies_are_wrong_and_end(tmp_path: Path) -> None:
    task = made(tmp_path, row(HEADS, "SELECT name FROM head WHERE age > 3"))
    replies = [text * (2**20 // len(text)) for text in ("x", "\n", "SELECT ", "select (", "```", "`", "\x00", ";\n")]
    replies += ["SELECT name FROM head\x00", "SELECT '\ud800'", "SELECT load_extension('x')", "ATTACH 'x' AS y"]
    replies += ["WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c", "SELECT randomblob(1e9)"]
    assert {j.quality for j in await graded(task, *replies)} == {0.0}


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=100))
async def test_any_reply_gets_a_quality(tmp_path_factory: pytest.TempPathFactory, reply: str) -> None:
    task = made(tmp_path_factory.getbasetemp(), row(HEADS, "SELECT name FROM head WHERE age > 3"))
    (found,) = await graded(task, f"SELECT {reply}")
    assert found.quality in {0.0, 1.0}


@pytest.mark.parametrize(
    ("context", "reference"),
    [
        ("CREATE TABLE t (to VARCHAR)", "SELECT to FROM t"),
        ("CREATE TABLE t (a VARCHAR)", "SELECT b.c FROM t"),
        ("CREATE TABLE t (a VARCHAR)", "SELECT a FROM t WHERE 1 = 0"),
        ("CREATE TABLE t (a VARCHAR)", "SELECT a FROM t; DROP TABLE t"),
        ("CREATE TABLE t (a VARCHAR); ATTACH 'x' AS y", "SELECT a FROM t"),
        ("CREATE TABLE t (a VARCHAR)", "SELECT load_extension(a) FROM t"),
        ("CREATE TABLE t (a VARCHAR)", "SELECT printf('%.*c', 2000000000, a) FROM t"),
        ("CREATE TABLE t (a VARCHAR)", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c"),
        ("CREATE TABLE t (a VARCHAR)", "SELECT COUNT(*) FROM t a, t b, t c, t d, t e, t f, t g"),
        ("no schema", "SELECT 1"),
        ("CREATE TABLE t (a\x00)", "SELECT 1"),
    ],
)
def test_rows_that_cannot_be_checked_are_left_out_and_counted(tmp_path: Path, context: str, reference: str) -> None:
    good = row(HEADS, "SELECT name FROM head WHERE age > 3")
    task = made(tmp_path, row(context, reference), good, good)
    assert (len(task.suite.behaviors), task.left_out) == (1, 2)
    with pytest.raises(SuiteError, match="none of its 1 reference queries"):
        made(tmp_path, row(context, reference))


def test_rows_are_drawn_until_there_are_enough(tmp_path: Path) -> None:
    rows = [row(HEADS, f"SELECT name FROM head WHERE age > {i}") for i in range(20)]
    assert len(made(tmp_path, *rows, prompts=5).suite.behaviors) == 5
    assert made(tmp_path, *reversed(rows), prompts=5).suite == made(tmp_path, *rows, prompts=5).suite


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"question": "q", "context": HEADS}, "no 'answer'"),
        ({"question": "q", "answer": "SELECT 1"}, "no 'context'"),
        (row(HEADS, "DROP TABLE head"), "'answer' must be a SELECT query"),
        (row(HEADS, "x" * 10_000_000), "holds 10000000 characters"),
        (row("", "SELECT 1"), "'context' is empty"),
        ({"question": "q", "context": [HEADS], "answer": "SELECT 1"}, "must be text, not list"),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path: Path, bad: object, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as caught:
        made(tmp_path, row(HEADS, "SELECT name FROM head"), bad)
    assert "t.jsonl, line 2" in str(caught.value)


@pytest.mark.parametrize("name", BAD_BYTES)
def test_a_bad_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_BYTES[name]
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(SuiteError, match=message):
        sql_create.make(sql_create.Options(path=tmp_path / "t.json"))


@settings(deadline=None, max_examples=50)
@example("", "age > " + "9" * 5000)
@example("", "age > 9223372036854775807")
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_schema_and_query_can_be_filled_or_not(context: str, query: str) -> None:
    for schema in (context, HEADS):
        database = filled(schema, f"SELECT name FROM head WHERE {query}", seed="s")
        assert database is None or fetch([database], "SELECT 1", "SELECT 1")
