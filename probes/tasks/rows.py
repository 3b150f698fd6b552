"""Rows of a task's file: read whole, checked one by one, drawn by their content.

A fault names file and line and says the way out. A row's id comes of its content, never of its position, so that a
file which is sorted anew asks the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.behavior import Behavior, Suite, SuiteKind
from probes.errors import SuiteError
from probes.suites import content_sha256

__all__ = ["CELL_CHARACTERS_MAX", "Row", "content_id", "csv_rows", "distinct", "drawn", "json_rows", "task_suite"]

CELL_CHARACTERS_MAX = 100_000
"""No question is longer than this; a longer cell is a broken file, and no server would take it."""

_CATEGORIES_MAX = 100
"""Categories become labels of metrics, so they can't be free text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row and where it stands, e.g. ``/data/test.jsonl, line 3``."""

    where: str
    values: Mapping[str, Any]

    def text(self, column: str, *, may_be_empty: bool = False) -> str:
        """Return a column's text, as it is.

        Raises:
            SuiteError: It is missing, empty, too long or no text.
        """
        if column not in self.values:
            there = ", ".join(map(repr, sorted(self.values))) or "none"
            raise SuiteError(f"{self.where}: no {column!r} (there are: {there[:200]}); is this another set's file?")
        return self._checked(column, self.values[column], may_be_empty=may_be_empty)

    def texts(self, column: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
        """Return a column that holds a list of texts.

        Raises:
            SuiteError: It is missing, or no list of texts, or one of them is empty or too long.
        """
        found = self.values.get(column)
        if not isinstance(found, list) or not found:
            raise SuiteError(f"{self.where}: {column!r} must be a list of texts")
        return tuple(self._checked(column, each, may_be_empty=may_be_empty) for each in found)

    def fault(self, what: str) -> SuiteError:
        """Make the error of a row that says what can't be."""
        return SuiteError(f"{self.where}: {what}")

    def _checked(self, column: str, value: object, *, may_be_empty: bool) -> str:
        if not isinstance(value, str):
            raise self.fault(f"{column!r} must be text, not {type(value).__name__}")
        if not value.strip() and not may_be_empty:
            raise self.fault(f"{column!r} is empty; fill it in or remove the row")
        if len(value) > CELL_CHARACTERS_MAX:
            raise self.fault(
                f"{column!r} holds {len(value)} characters, at most {CELL_CHARACTERS_MAX} are asked; remove the row"
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.fault(f"{column!r} holds half a character (a lone surrogate); mend or remove it") from error
        return value


def json_rows(path: Path) -> Iterator[Row]:
    """Read the objects of a JSON array or of a JSONL file.

    Raises:
        SuiteError: It can't be read, is no UTF-8 or no JSON, or a row is no object.
    """
    text = _text(path)
    if text.lstrip().startswith("["):
        found = _parsed(text, str(path), "write one array of objects, or one object a line")
        numbered = ((f"{path}, row {n}", row) for n, row in enumerate(found, 1))
    else:
        lines = ((f"{path}, line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip())
        numbered = ((where, _parsed(line, where, "write one object a line")) for where, line in lines)
    for where, row in numbered:
        if not isinstance(row, dict):
            raise SuiteError(f"{where}: no JSON object; write one object a line")
        yield Row(where=where, values=row)


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a CSV file without a header.

    Raises:
        SuiteError: It can't be read, is no UTF-8 or no CSV, or a row has not one field for each column.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        for fields in reader:
            where = f"{path}, line {reader.line_num}"
            if not fields:
                continue
            if len(fields) != len(columns):
                raise SuiteError(
                    f"{where}: {len(fields)} fields, not {len(columns)} ({', '.join(columns)}, without a header); "
                    "put quotes around fields that hold commas or line breaks"
                )
            yield Row(where=where, values=dict(zip(columns, fields, strict=True)))
    except csv.Error as error:
        raise SuiteError(f"{path}, line {reader.line_num}: no valid CSV ({error}); mend the row") from error


def content_id(prefix: str, *content: str) -> str:
    """Return an id that follows from what a row holds."""
    return f"{prefix}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def distinct(behaviors: Iterable[Behavior]) -> tuple[list[Behavior], int]:
    """Return each behavior once, and how many stood there again; ids come of the content, so these are the same."""
    everything = list(behaviors)
    once = list({b.id: b for b in everything}.values())
    return once, len(everything) - len(once)


def drawn(behaviors: Sequence[Behavior], seed: int) -> list[Behavior]:
    """Return the behaviors in an order that seed and ids decide, so that the first ``n`` are a random sample."""
    return sorted(behaviors, key=lambda b: hashlib.sha256(f"{seed}/{b.id}".encode()).digest())


def task_suite(name: str, behaviors: Sequence[Behavior], path: Path) -> Suite:
    """Make the suite of a file's behaviors.

    Raises:
        SuiteError: There are none, or too many categories to tell apart in metrics.
    """
    if not behaviors:
        raise SuiteError(f"{path}: nothing in it that can be asked; check the file")
    count = len({b.category for b in behaviors})
    if count > _CATEGORIES_MAX:
        raise SuiteError(f"{path}: {count} categories, at most {_CATEGORIES_MAX} can be told apart in metrics")
    kept = tuple(behaviors)
    return Suite(name=name, kind=SuiteKind.TASK, behaviors=kept, sha256=content_sha256(kept))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SuiteError(f"{path}: can't be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from error
    except ValueError as error:
        raise SuiteError(f"{str(path)!r} is no path ({error}); check the path") from error


def _parsed(text: str, where: str, way_out: str) -> Any:  # noqa: ANN401  (JSON holds anything)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{where}: no valid JSON; {way_out}") from error
