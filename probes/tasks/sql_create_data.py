"""Rows for tables that have none, so that a given query finds something and near misses find something else.

A column that the query compares gets the compared values and their neighbours; one it orders by or sums gets distinct
numbers; one it groups by few; any other a handful of numbers that columns share, so that tables join. Texts hold
numbers too, so that sums and comparisons of text columns, which public files are full of, are not all zero.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from probes.tasks.sqlite import Database, columns_of

__all__ = ["filled"]

_Value = str | int | float | None

_TOKEN = re.compile(r"'((?:[^']|'')*)'|\"([^\"]*)\"|`([^`]*)`|(\d+(?:\.\d+)?)\b|([A-Za-z_]\w*)|([^\s])")
_INTEGER_DIGITS_MAX = 15
"""So that what lies beside a number is an integer of SQLite too."""
_TOTALS = {"max", "min", "avg", "sum", "total"}
_ENDS = {"having", "order", "limit", "union", "intersect", "except", "select", "where"}
_NUMERIC = re.compile(r"int|real|floa|doub|num|dec|bool|date|time|year", re.IGNORECASE)


@dataclass(slots=True)
class _Uses:
    """What a query does with columns, by their lower-case names."""

    compared: dict[str, list[_Value]] = field(default_factory=dict)
    ranked: set[str] = field(default_factory=set)
    grouped: set[str] = field(default_factory=set)


def filled(context: str, query: str, *, seed: str) -> Database | None:
    """Make a database of a schema for a query.

    Args:
        context: CREATE TABLE statements and nothing else.
        query: What it is filled for.
        seed: The same seed gives the same rows on every machine.

    Returns:
        The database, or ``None`` where SQLite refuses the schema.
    """
    try:
        tables = columns_of(context)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return None
    names = {name.lower() for columns in tables.values() for name, _ in columns}
    uses = _uses_of(query, names)
    rng = random.Random(seed)
    shared = rng.sample(range(1, 10), 6)
    return Database(
        schema=context, rows={table: _rows(columns, uses, shared, rng) for table, columns in tables.items()}
    )


def _rows(
    columns: Sequence[tuple[str, str]], uses: _Uses, shared: Sequence[int], rng: random.Random
) -> list[list[_Value]]:
    n = rng.randrange(12, 25)
    made = [
        _column(name.lower(), uses, numeric=bool(_NUMERIC.search(kind)), shared=shared, rng=rng, n=n)
        for name, kind in columns
    ]
    return [list(row) for row in zip(*made, strict=True)]


def _column(
    name: str, uses: _Uses, *, numeric: bool, shared: Sequence[int], rng: random.Random, n: int
) -> list[_Value]:
    if name in uses.ranked:
        plain: list[int] = rng.sample(range(100, 1000), n)
    elif name in uses.grouped:
        plain = rng.choices(shared[:3], k=n)
    else:
        plain = rng.choices(shared, k=n)
    values: list[_Value] = [v if numeric else str(v) for v in plain]
    compared = uses.compared.get(name, [])
    if compared:
        near = [v for value in compared for v in _near(value)]
        values = [
            rng.choice(compared) if (draw := rng.random()) < 0.6 else rng.choice(near) if draw < 0.8 else value
            for value in values
        ]
    return values


def _near(value: _Value) -> list[_Value]:
    """Return what lies beside a value: numbers above and below, a text with more and with less of it."""
    if isinstance(value, int | float):
        return [value - 1, value + 1, value + 10]
    return [f"{value} 2", value[: (len(value) + 1) // 2]] if value is not None else ["0"]


def _uses_of(query: str, names: set[str]) -> _Uses:
    uses = _Uses()
    column, clause, before = "", "", ["", ""]
    for text, quoted, ticked, number, word, sign in _TOKEN.findall(query):
        name = (quoted or ticked or word).lower()
        if name in names and not text:
            column = name
            if clause == "group by":
                uses.grouped.add(name)
            if clause == "order by" or (before[-1] == "(" and before[-2] in _TOTALS):
                uses.ranked.add(name)
        elif word:
            clause = f"{name} by" if name in {"group", "order"} else "" if name in _ENDS else clause
            if name == "null" and column:
                uses.compared.setdefault(column, []).append(None)
        elif column and (number or text or quoted) and before[-1] not in {"limit", "offset"}:
            uses.compared.setdefault(column, []).append(_literal(text or quoted, number))
        if name != "distinct":
            before = [before[-1], name or sign]
    return uses


def _literal(text: str, number: str) -> _Value:
    if number:
        return float(number) if "." in number or len(number) > _INTEGER_DIGITS_MAX else int(number)
    return text.replace("''", "'").replace("%", "").replace("_", " ") if "%" in text else text.replace("''", "'")
