"""Text-to-SQL in the format of sql-create-context: result sets on tables filled for the reference query.

Format: a JSON array or JSONL of ``question``, ``context`` (CREATE TABLE statements) and ``answer`` (a query)
(b-mc2/sql-create-context on Hugging Face, CC BY 4.0, made of WikiSQL and Spider). The file has no rows, so each
question gets several small databases (``sql_create_data``), and a reply is right where it gives the reference query's
result on each. Rows whose reference fails on SQLite, or finds nothing on any of them, are left out and counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from probes.behavior import Behavior, BehaviorId
from probes.errors import SuiteError
from probes.target import Completion
from probes.task import CheckerJudge, Mark, Task
from probes.tasks.rows import Row, content_id, distinct, drawn, json_rows, task_suite
from probes.tasks.sql import INSTRUCTION
from probes.tasks.sql_create_data import filled
from probes.tasks.sqlite import Database, Rows, fetch

__all__ = ["Options", "make", "query_of", "same_results"]

_SEEDS = 12
"""Databases tried for a question."""
_DATABASES = 4
"""Databases kept: those on which the reference query finds something."""
_REPLY_CHARACTERS_MAX = 20_000
"""Characters of a reply that are looked through for its query."""
_QUERY = re.compile(r"^[ \t]*((?:select|with)\b.*)", re.IGNORECASE | re.DOTALL | re.MULTILINE)


class Options(BaseModel):
    """Options of the task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """The published file, e.g. ``sql_create_context_v4.json``."""
    prompts: int = Field(default=100, ge=1)
    """Questions to ask, drawn by ``seed``; all where the file has fewer."""
    seed: int = 0
    """Decides which ones."""


def query_of(reply: str) -> str:
    """Return the query in a reply: in its first code fence, else from the first line that begins one; empty if none."""
    reply = reply[:_REPLY_CHARACTERS_MAX]
    _, fence, rest = reply.partition("```")
    if fence:
        reply = rest.split("```", 1)[0]
    found = _QUERY.search(reply)
    query = found[1] if found else ""
    return re.split(r"\n\s*\n|;\s*\n", query, maxsplit=1)[0].strip().rstrip(";").strip()


def same_results(databases: Sequence[Database], reference: str, query: str) -> bool:
    """Tell whether a query gives the reference's result set on each database.

    Order counts where the reference itself orders. Numbers are equal to 10 significant digits, so that a sum in
    another order is the same sum.
    """
    ordered = _orders(reference)
    for expected, got in fetch(databases, reference, query):
        if expected is None or got is None or len(expected) != len(got):
            return False
        plain, asked = [_plain(row) for row in got], [_plain(row) for row in expected]
        if plain != asked and (ordered or Counter(plain) != Counter(asked)):
            return False
    return True


def _orders(query: str) -> bool:
    """Tell whether a query orders its result: not only a part in parentheses, and not in a text."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "''", query.lower())
    while (inner := re.sub(r"\([^()]*\)", "", text)) != text:
        text = inner
    return re.search(r"\border\s+by\b", text) is not None


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(float(f"{value:.10g}") if isinstance(value, float) else value for value in row)


def _finds(rows: Rows | None) -> bool:
    return any(value not in {None, 0, ""} for row in rows or () for value in row)


def _databases(context: str, reference: str, seed: str) -> list[Database]:
    """Return the databases on which the reference query finds something; none where it can't be run."""
    tried = [filled(context, reference, seed=f"{seed}/{k}") for k in range(_SEEDS)]
    databases = [database for database in tried if database]
    found = fetch(databases, reference, reference)
    if any(rows is None for rows, _ in found):
        return []
    return [d for d, (rows, _) in zip(databases, found, strict=True) if _finds(rows)][:_DATABASES]


def _behavior(row: Row) -> Behavior:
    question, context, reference = row.text("question"), row.text("context"), row.text("answer")
    reference = reference.strip().rstrip(";").strip()
    if not re.match(r"\s*(?:select|with)\b", reference, re.IGNORECASE):
        raise row.fault("'answer' must be a SELECT query; is this the file of sql-create-context?")
    return Behavior(
        id=BehaviorId(content_id("sql-create", question, context, reference)),
        prompt=f"{INSTRUCTION}\nSchema: {context}\nQuestion: {question}",
        category="all",
        form="imperative",
        answer=json.dumps({"schema": context, "sql": reference}),
    )


def _with_data(behavior: Behavior) -> Behavior | None:
    answer = json.loads(behavior.answer)
    databases = _databases(answer["schema"], answer["sql"], behavior.id)
    if not databases:
        return None
    answer["rows"] = [database.rows for database in databases]
    return Behavior(
        id=behavior.id, prompt=behavior.prompt, category=behavior.category, form=behavior.form,
        answer=json.dumps(answer),
    )  # fmt: skip


def _check(behavior: Behavior, completion: Completion) -> Mark:
    answer = json.loads(behavior.answer)
    query = query_of(completion.text)
    if not query:
        return Mark(0.0, ("no_query",))
    databases = [Database(schema=answer["schema"], rows=rows) for rows in answer["rows"]]
    return Mark(float(same_results(databases, answer["sql"], query)))


def make(options: Options) -> Task:
    """Make the task of its options: rows are drawn until enough of them can be asked.

    Raises:
        SuiteError: The file can't be used, or no row of it can be asked; the message names file and line.
    """
    behaviors, left_out = distinct(_behavior(row) for row in json_rows(options.path))
    asked: list[Behavior] = []
    for behavior in drawn(behaviors, options.seed):
        if len(asked) == options.prompts:
            break
        with_data = _with_data(behavior)
        if with_data is None:
            left_out += 1
        else:
            asked.append(with_data)
    if behaviors and not asked:
        raise SuiteError(f"{options.path}: none of its {len(behaviors)} reference queries finds anything on SQLite")
    suite = task_suite("sql-create", asked, options.path)
    return Task(suite=suite, judge=CheckerJudge("sql-create-results/1", _check), max_tokens=192, left_out=left_out)
