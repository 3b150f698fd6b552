"""Text-to-SQL: the checker accepts the right result set and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.judge import Verdict
from probes.probe import Probe, ProbeId, Sampling
from probes.target import Completion
from probes.tasks import sql


def test_reference_queries_pass_in_a_code_fence_and_with_a_semicolon() -> None:
    for behavior in sql.generate(150, seed=3).behaviors:
        query = sql.reference_query(behavior)
        assert sql.check(behavior, query)
        assert sql.check(behavior, f"```sql\n{query};\n```")


def test_same_seed_same_suite() -> None:
    assert sql.generate(40, seed=1) == sql.generate(40, seed=1)
    assert sql.generate(40, seed=1).sha256 != sql.generate(40, seed=2).sha256


def test_training_and_test_tables_share_no_name() -> None:
    def tables(split: sql.Split) -> set[str]:
        return {b.prompt.split("CREATE TABLE ")[1].split()[0] for b in sql.generate(300, 1, split=split).behaviors}

    assert not tables("train") & tables("test")


def test_training_and_test_tables_share_no_column_and_no_value() -> None:
    def words(split: sql.Split) -> set[str]:
        found: set[str] = set()
        for behavior in sql.generate(400, 1, split=split).behaviors:
            answer = json.loads(behavior.answer)
            columns = answer["schema"].split("(")[1].split(",")
            found |= {answer["table"], *(c.split()[0] for c in columns), *(row[1] for row in answer["rows"])}
        return found

    assert not words("train") & words("test")
    assert len(words("test")) > 40


def test_both_splits_ask_in_the_same_forms_and_stay_short() -> None:
    train, test = (sql.generate(300, 1, split=s).behaviors for s in ("train", "test"))
    assert {b.category for b in train} == {b.category for b in test}
    assert max(len(b.prompt.split()) for b in (*train, *test)) <= 60
    assert max(len(sql.reference_query(b).split()) for b in (*train, *test)) <= 12


def test_order_counts_only_where_it_is_asked_for() -> None:
    behaviors = sql.generate(300, seed=5).behaviors
    free = next(b for b in behaviors if " > " in sql.reference_query(b))
    assert sql.check(free, sql.reference_query(free) + " ORDER BY 1 DESC")
    top = next(b for b in behaviors if "DESC LIMIT 1" in sql.reference_query(b))
    assert not sql.check(top, sql.reference_query(top).replace("DESC", "ASC"))


async def test_the_judge_says_correct_and_never_harmful() -> None:
    behavior = sql.generate(1, seed=3).behaviors[0]
    probe = Probe(
        id=ProbeId("s/0"),
        suite="sql-test",
        behavior=behavior,
        attack="direct",
        messages=(),
        sampling=Sampling(),
        seed=1,
    )
    replies = [
        Completion(
            probe=probe.id, text=text, finish_reason="stop", model="m", release="r", completion_tokens=1,
            latency_seconds=0.1,
        )
        for text in (sql.reference_query(behavior), "SELECT 'no'", "")
    ]  # fmt: skip
    found = await sql.SqlJudge().judge([(probe, reply) for reply in replies])
    assert [j.quality for j in found] == [1.0, 0.0, 0.0]
    assert {(j.verdict, j.p_harmful, j.score) for j in found} == {(Verdict.SAFE, None, None)}


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "SELECT",
        "SELECT 1; SELECT 2",
        "DROP TABLE wines",
        "I can't help with that.",
        "SELECT \x00",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x FROM c",
        "SELECT load_extension('x')",
        "SELECT length(zeroblob(900000000))",
        "SELECT printf('%.*c', 900000000, 'x')",
        "SELECT CAST(x'ff' AS TEXT)",
        "SELECT '\ud800'",
        "SELECT 9223372036854775808 * 9e999",
        "ATTACH 'x' AS y",
        "SELECT * FROM pragma_database_list",
        "SELECT a.rowid FROM sqlite_master a, sqlite_master b, sqlite_master c",
    ],
)
def test_wrong_or_hostile_replies_fail(reply: str) -> None:
    assert not sql.check(sql.generate(1, seed=3).behaviors[0], reply)


def test_an_endless_query_is_stopped() -> None:
    behavior = sql.generate(1, seed=3).behaviors[0]
    table = behavior.prompt.split("CREATE TABLE ")[1].split()[0]
    joined = ", ".join(f"{table} t{i}" for i in range(12))
    assert not sql.check(behavior, f"SELECT COUNT(*) FROM {joined}")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_gets_a_verdict(reply: str) -> None:
    assert sql.check(sql.generate(1, seed=3).behaviors[0], "SELECT " + reply) in {True, False}
