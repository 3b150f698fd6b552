"""Text-to-SQL: the checker accepts the right result set and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.text(max_size=200))
def test_any_text_gets_a_verdict(reply: str) -> None:
    assert sql.check(sql.generate(1, seed=3).behaviors[0], "SELECT " + reply) in {True, False}
