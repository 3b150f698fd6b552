"""Readers for public prompt sets: HarmBench, AdvBench, JailbreakBench, StrongREJECT, XSTest, plain CSV and JSONL.

The columns say which it is. Prompts are kept byte for byte. Where a set has no ids, they come of the prompt's
digest, so that a row keeps its id when the file is sorted anew.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from probes.behavior import Behavior, BehaviorId, Suite, SuiteKind
from probes.errors import SuiteError
from probes.suites import content_sha256

__all__ = ["read_suite"]

Row = Mapping[str, str]
_Read = Callable[[Row, SuiteKind], Behavior | None]

_PROMPT_COLUMNS = ("prompt", "behavior", "goal", "forbidden_prompt", "instruction", "request", "question", "text")
_CATEGORIES_MAX = 100
"""Categories become labels of metrics, so they can't be free text."""


def read_suite(path: Path, kind: SuiteKind, name: str | None = None) -> Suite:
    """Read a prompt set.

    Left out on purpose: HarmBench's copyright rows, which another metric measures, and the rows of XSTest that
    are not of this kind (``harm`` takes the contrast prompts, ``benign`` the safe ones).

    Args:
        path: A ``.csv``, ``.jsonl`` or ``.ndjson`` file in UTF-8.
        kind: What the prompts measure: ``harm`` or ``benign``. Tasks need a checker, so no file makes one.
        name: The suite's name; by default the file's, without its ending.

    Returns:
        The suite, in the file's order, with the digest of its content.

    Raises:
        SuiteError: The file can't be used; the message names file and row and says what to do.
    """
    if kind is SuiteKind.TASK:
        raise SuiteError(f"{path}: a task needs a checker, which a file of prompts lacks; read it as harm or benign")
    behaviors: list[Behavior] = []
    ids: dict[BehaviorId, int] = {}
    for line, row in _rows(path):
        behavior = _format_of(row, path, line)(row, kind)
        if behavior is None:
            continue
        if not behavior.prompt.strip():
            raise SuiteError(f"{path}, line {line}: the prompt is empty; fill it in or remove the row")
        if behavior.id in ids:
            raise SuiteError(
                f"{path}, line {line}: id {behavior.id} was seen on line {ids[behavior.id]}; make the ids unique, "
                "or remove the row where its prompt stands there twice"
            )
        ids[behavior.id] = line
        behaviors.append(behavior)
    if not behaviors:
        raise SuiteError(f"{path}: no {kind.value} prompts in it; check the file and the kind")
    _require_few_categories(path, behaviors)
    found = tuple(behaviors)
    return Suite(name=name or path.stem, kind=kind, behaviors=found, sha256=content_sha256(found))


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SuiteError(f"{path}: can't be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from error
    if path.suffix == ".csv":
        return _csv_rows(path, text)
    if path.suffix in {".jsonl", ".ndjson"}:
        return _json_rows(path, text)
    raise SuiteError(f"{path}: the file must end in .csv, .jsonl or .ndjson")


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=None, strict=True)
    try:
        for row in reader:
            if "" in row or None in row.values():
                raise SuiteError(
                    f"{path}, line {reader.line_num}: the row has not as many fields as the header; "
                    "put quotes around fields that hold commas or line breaks"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise SuiteError(f"{path}, line {reader.line_num}: no valid CSV ({error}); mend the row") from error


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SuiteError(f"{path}, line {number}: no valid JSON; write one object a line") from error
        if not isinstance(row, dict):
            raise SuiteError(f"{path}, line {number}: no JSON object; write one object a line")
        yield number, {key: "" if value is None else str(value) for key, value in row.items()}


def _format_of(row: Row, path: Path, line: int) -> _Read:
    columns = frozenset(row)
    for needed, read in _FORMATS:
        if needed <= columns:
            return read
    if not _prompt_column(row):
        raise SuiteError(
            f"{path}, line {line}: no column holds the prompt (there are: {', '.join(sorted(columns)) or 'none'}); "
            f"name it one of: {', '.join(_PROMPT_COLUMNS)}"
        )
    return _plain


def _harmbench(row: Row, kind: SuiteKind) -> Behavior | None:
    del kind
    if row["FunctionalCategory"] == "copyright":
        return None
    context = row["ContextString"]
    return Behavior(
        id=BehaviorId(row["BehaviorID"]),
        prompt=f"{context}\n\n---\n\n{row['Behavior']}" if context else row["Behavior"],
        category=row["SemanticCategory"] or "all",
    )


def _xstest(row: Row, kind: SuiteKind) -> Behavior | None:
    label = row.get("label") or ("unsafe" if row["type"].startswith("contrast_") else "safe")
    if (label == "unsafe") is not (kind is SuiteKind.HARM):
        return None
    return Behavior(id=BehaviorId(f"xstest-{row['id']}"), prompt=row["prompt"], category=row["type"] or "all")


def _jailbreakbench(row: Row, kind: SuiteKind) -> Behavior | None:
    del kind
    return Behavior(id=_digest_id(row["Goal"]), prompt=row["Goal"], category=row["Category"] or "all")


def _plain(row: Row, kind: SuiteKind) -> Behavior | None:
    del kind
    prompt = row[_prompt_column(row)]
    return Behavior(
        id=BehaviorId(row["id"]) if row.get("id") else _digest_id(prompt),
        prompt=prompt,
        category=row.get("category") or "all",
        form=row.get("form") or "",
    )


_FORMATS: tuple[tuple[frozenset[str], _Read], ...] = (
    (frozenset({"Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID"}), _harmbench),
    (frozenset({"id", "prompt", "type", "focus"}), _xstest),
    (frozenset({"Goal", "Behavior", "Category"}), _jailbreakbench),
)
"""Columns that give a format away; AdvBench and StrongREJECT are plain files with a column for the prompt."""


def _prompt_column(row: Row) -> str:
    return next((column for column in _PROMPT_COLUMNS if column in row), "")


def _digest_id(prompt: str) -> BehaviorId:
    return BehaviorId(hashlib.sha256(prompt.encode()).hexdigest()[:12])


def _require_few_categories(path: Path, behaviors: Iterable[Behavior]) -> None:
    count = len(Counter(b.category for b in behaviors))
    if count > _CATEGORIES_MAX:
        raise SuiteError(
            f"{path}: {count} categories, at most {_CATEGORIES_MAX} can be told apart in metrics; "
            "group them, or rename the column if it is no category"
        )
