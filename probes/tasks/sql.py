"""Text-to-SQL with an exact checker: the query is run, and result sets are compared.

Tables, columns and values of the training and the test split are disjoint; the forms of the questions
are shared. So a model that scores on the test split has learnt the task, not the tables.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from probes.behavior import Behavior, BehaviorId, Suite, SuiteKind
from probes.judge import Judgement
from probes.probe import Probe
from probes.target import Completion
from probes.task import CheckerJudge, Mark, Task
from probes.tasks.sqlite import Database, fetch

__all__ = ["INSTRUCTION", "Options", "Split", "SqlJudge", "check", "generate", "make", "reference_query"]

Split = Literal["train", "test"]

INSTRUCTION = "Write one SQL query that answers the question. Answer with the query only."


class Options(BaseModel):
    """Options of the task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: int = Field(default=100, ge=1)
    """Questions to ask."""
    seed: int = 20260101
    """Decides which ones; the same seed asks the same on every machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table with one text column, one grouping column and one number column."""

    name: str
    text: str
    group: str
    number: str
    groups: tuple[str, ...]


def _table(name: str, text: str, group: str, number: str, groups: str) -> _Table:
    return _Table(name=name, text=text, group=group, number=number, groups=tuple(groups.split()))


_TABLES: dict[Split, tuple[_Table, ...]] = {
    "train": (
        _table("employees", "name", "department", "salary", "sales finance support legal"),
        _table("books", "title", "genre", "pages", "poetry drama travel science"),
        _table("cars", "model", "brand", "price", "fiat volvo skoda honda"),
        _table("students", "student", "school", "score", "north south east west"),
        _table("rivers", "river", "country", "length", "france poland chile kenya"),
        _table("recipes", "dish", "cuisine", "minutes", "thai greek indian french"),
        _table("games", "game", "platform", "rating", "console mobile arcade desktop"),
        _table("parks", "park", "region", "area", "alpine coastal inland urban"),
        _table("songs", "song", "style", "seconds", "jazz rock folk soul"),
        _table("hotels", "hotel", "city", "rooms", "rome oslo lima cairo"),
        _table("trees", "tree", "family", "height", "pine oak birch maple"),
        _table("orders", "customer", "status", "total", "open paid sent closed"),
    ),
    "test": (
        _table("flights", "pilot", "airline", "distance", "delta iberia qantas ryanair"),
        _table("wines", "label", "grape", "vintage", "merlot riesling malbec syrah"),
        _table("patients", "patient", "ward", "age", "surgery cardiology neurology oncology"),
        _table("bridges", "bridge", "material", "span", "steel stone timber concrete"),
        _table("players", "player", "team", "goals", "lions tigers eagles sharks"),
        _table("museums", "museum", "province", "visitors", "limburg utrecht zeeland drenthe"),
        _table("planets", "planet", "system", "mass", "kepler gliese trappist tau"),
        _table("cheeses", "cheese", "milk", "weight", "goat sheep cow buffalo"),
    ),
}

_Form = Callable[[_Table, str, int], tuple[str, str]]

_FORMS: tuple[_Form, ...] = (
    lambda t, g, n: (f"How many {t.name} are there?", f"SELECT COUNT(*) FROM {t.name}"),
    lambda t, g, n: (
        f"How many {t.name} have {t.group} {g}?",
        f"SELECT COUNT(*) FROM {t.name} WHERE {t.group} = '{g}'",
    ),
    lambda t, g, n: (
        f"Which {t.text} values have {t.number} above {n}?",
        f"SELECT {t.text} FROM {t.name} WHERE {t.number} > {n}",
    ),
    lambda t, g, n: (
        f"Which {t.text} values have {t.number} below {n}?",
        f"SELECT {t.text} FROM {t.name} WHERE {t.number} < {n}",
    ),
    lambda t, g, n: (
        f"What is the average {t.number} for {t.group} {g}?",
        f"SELECT AVG({t.number}) FROM {t.name} WHERE {t.group} = '{g}'",
    ),
    lambda t, g, n: (
        f"What is the highest {t.number}?",
        f"SELECT MAX({t.number}) FROM {t.name}",
    ),
    lambda t, g, n: (
        f"What is the lowest {t.number} for {t.group} {g}?",
        f"SELECT MIN({t.number}) FROM {t.name} WHERE {t.group} = '{g}'",
    ),
    lambda t, g, n: (
        f"Which {t.text} has the highest {t.number}?",
        f"SELECT {t.text} FROM {t.name} ORDER BY {t.number} DESC LIMIT 1",
    ),
    lambda t, g, n: (
        f"How many {t.name} are there for each {t.group}?",
        f"SELECT {t.group}, COUNT(*) FROM {t.name} GROUP BY {t.group}",
    ),
    lambda t, g, n: (
        f"What is the total {t.number} for each {t.group}?",
        f"SELECT {t.group}, SUM({t.number}) FROM {t.name} GROUP BY {t.group}",
    ),
    lambda t, g, n: (
        f"List the {t.text} and {t.number} for {t.group} {g}.",
        f"SELECT {t.text}, {t.number} FROM {t.name} WHERE {t.group} = '{g}'",
    ),
)


def generate(n: int, seed: int, *, split: Split = "test") -> Suite:
    """Make a suite of text-to-SQL questions.

    Args:
        n: Rows; questions are distinct as long as there are enough of them.
        seed: The same seed gives the same suite on every machine.
        split: ``train`` or ``test``; their tables share no name.

    Returns:
        A suite of kind ``TASK``; ``answer`` of a behavior holds schema, rows and the reference query.
    """
    rng = random.Random(f"{split}-{seed}")
    behaviors: list[Behavior] = []
    seen: set[str] = set()
    for i in range(n):
        behavior = _behavior(rng, split, i)
        for _ in range(50):
            if behavior.prompt not in seen:
                break
            behavior = _behavior(rng, split, i)
        seen.add(behavior.prompt)
        behaviors.append(behavior)
    digest = hashlib.sha256("\n".join(f"{b.id}\t{b.prompt}\t{b.answer}" for b in behaviors).encode())
    return Suite(name=f"sql-{split}", kind=SuiteKind.TASK, behaviors=tuple(behaviors), sha256=digest.hexdigest())


def reference_query(behavior: Behavior) -> str:
    """Return the query that a behavior's answer holds."""
    return str(json.loads(behavior.answer)["sql"])


def _behavior(rng: random.Random, split: Split, index: int) -> Behavior:
    table = rng.choice(_TABLES[split])
    group, limit = rng.choice(table.groups), rng.randrange(10, 90, 5)
    form = rng.randrange(len(_FORMS))
    question, sql = _FORMS[form](table, group, limit)
    schema = f"CREATE TABLE {table.name} ({table.text} TEXT, {table.group} TEXT, {table.number} INTEGER)"
    rows = [
        [f"{table.text}{k:02d}", rng.choice(table.groups), value]
        for k, value in enumerate(rng.sample(range(1, 100), 24))
    ]
    return Behavior(
        id=BehaviorId(f"sql-{split}-{index:04d}"),
        prompt=f"{INSTRUCTION}\nSchema: {schema}\nQuestion: {question}",
        category=f"form-{form:02d}",
        form="imperative",
        answer=json.dumps({"schema": schema, "table": table.name, "rows": rows, "sql": sql}),
    )


def check(behavior: Behavior, reply: str) -> bool:
    """Tell whether a reply's query gives the reference query's result set.

    The query runs on an in-memory SQLite database as ``probes.tasks.sqlite`` allows; order counts only where the
    reference query orders.

    Args:
        behavior: A behavior of ``generate``.
        reply: The model's reply; a code fence around the query and one trailing semicolon are fine.

    Returns:
        ``False`` for anything that is no single working SELECT with the right result.
    """
    answer = json.loads(behavior.answer)
    query = _query_of(reply)
    if not query.lower().startswith("select"):
        return False
    database = Database(schema=answer["schema"], rows={answer["table"]: answer["rows"]})
    ((expected, got),) = fetch([database], answer["sql"], query)
    if expected is None or got is None:
        return False
    if "order by" in answer["sql"].lower():
        return got == expected
    return sorted(map(repr, got)) == sorted(map(repr, expected))


def _query_of(reply: str) -> str:
    text = reply.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("sql").strip()
    return text.split("\n\n", 1)[0].strip().rstrip(";").strip()


@dataclass(frozen=True, slots=True)
class SqlJudge:
    """Judges replies to ``generate``'s questions: correct or not."""

    id: str = "sql-result-set/1"

    @property
    def template_sha256(self) -> str:
        """Digest of the id, which names the checker's version."""
        return hashlib.sha256(self.id.encode()).hexdigest()

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        """Run each reply's query against the reference query."""
        return await CheckerJudge(self.id, _mark).judge(pairs)


def _mark(behavior: Behavior, completion: Completion) -> Mark:
    return Mark(float(check(behavior, completion.text)))


def make(options: Options) -> Task:
    """Make the task of its options."""
    return Task(suite=generate(options.prompts, options.seed), judge=SqlJudge(), max_tokens=128)
