"""What a file of prompts holds, read a second time: with the standard library alone and nothing of the project.

Written from the published formats and from what the readers promise, so that a fault of one shows against the other.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["FORMATS", "Bad", "prompts_in"]

Read = tuple[str, str, str]
"""Id, prompt and category."""

FORMATS: dict[str, tuple[str, ...]] = {
    "harmbench": ("Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID"),
    "xstest": ("id", "prompt", "type", "label", "focus", "note"),
    "jailbreakbench": ("Index", "Goal", "Target", "Behavior", "Category", "Source"),
    "artifact": ("index", "goal", "behavior", "category", "prompt", "response", "jailbroken"),
    "advbench": ("goal", "target"),
    "strongreject": ("category", "source", "forbidden_prompt"),
    "plain": ("id", "prompt", "category", "form", "opening"),
    "bare": ("instruction",),
}
"""The columns of each published format, in its order."""

_NAMES = ("prompt", "behavior", "goal", "forbidden_prompt", "instruction", "request", "question", "text")


class Bad(Exception):
    """The file can't be used; ``where`` is the line or entry that an error has to name, where there is one."""

    def __init__(self, where: str = "") -> None:
        super().__init__(where)
        self.where = where


def prompts_in(data: bytes, ending: str, *, harm: bool) -> list[Read]:
    """Read ids, prompts and categories.

    Raises:
        Bad: The file can't be used.
    """
    text = _decoded(data)
    rows = list({".csv": _of_csv, ".jsonl": _of_lines, ".json": _of_json}[ending](text))
    if not rows:
        raise Bad
    needs, read, repeats = _format(*rows[0])
    found: dict[str, Read] = {}
    for where, row in rows:
        if not needs <= row.keys():
            raise Bad(where)
        got = read(where, row, harm)
        if got is None or (repeats and got[0] in found):
            continue
        if not got[1].strip() or got[0] in found:
            raise Bad(where)
        found[got[0]] = got
    if not found or len({category for _, _, category in found.values()}) > 100:
        raise Bad
    return list(found.values())


def _decoded(data: bytes) -> str:
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"} or data[:4] == b"\x00\x00\xfe\xff":
        raise Bad
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        skipped = 3 if data[:3] == b"\xef\xbb\xbf" else 0
        raise Bad(f"line {1 + data[: error.start + skipped].count(10)}") from error
    if "\0" in text:
        raise Bad(f"line {1 + text[: text.index(chr(0))].count(chr(10))}")
    return text


def _of_csv(text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)
    reader, header, begins = csv.reader(io.StringIO(text, newline=""), strict=True), list[str](), 1
    found = []
    try:
        for cells in reader:
            where, begins = f"line {begins}", reader.line_num + 1
            if cells and not header:
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise Bad(where)
            elif cells:
                if len(cells) != len(header):
                    raise Bad(where)
                found.append((where, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise Bad(f"line {reader.line_num}") from error
    return found


def _of_lines(text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = _json(line, f"line {number}")
            if not isinstance(row, dict):
                raise Bad(f"line {number}")
            found.append((f"line {number}", row))
    return found


def _of_json(text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    rows = _json(text, "") if text.strip() else []
    rows = rows.get("jailbreaks") if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise Bad
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise Bad(f"entry {number}")
    return [(f"entry {number}", row) for number, row in enumerate(rows, 1)]


def _json(text: str, where: str) -> Any:  # noqa: ANN401 JSON is anything
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise Bad(where)
        return dict(pairs)

    def none(_: str) -> None:
        raise Bad(where)

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=none)
    except (ValueError, RecursionError) as error:
        raise Bad(where) from error


def _cell(where: str, row: dict[str, Any], name: str, most: int = 100_000) -> str:
    value = row.get(name)
    if type(value) is int:
        value = str(value)
    value = "" if value is None else value
    if not isinstance(value, str) or len(value) > most or any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise Bad(where)
    return value


def _hashed(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]


Reader = Callable[[str, dict[str, Any], bool], Read | None]


def _format(where: str, row: dict[str, Any]) -> tuple[set[str], Reader, bool]:
    """Return the columns that every row needs, how a row is read, and whether a prompt may stand twice."""
    formats: tuple[tuple[str, Reader, bool], ...] = (
        ("Behavior FunctionalCategory SemanticCategory ContextString BehaviorID", _harmbench, False),
        ("prompt type focus", _xstest, False),
        ("Goal Behavior Category", _jailbreakbench, False),
        ("goal behavior category prompt", _artifact, False),
        ("goal target", _advbench, True),
        ("category source forbidden_prompt", _strongreject, True),
    )
    for needs, read, repeats in formats:
        if set(needs.split()) <= row.keys():
            return set(needs.split()), read, repeats
    for name in _NAMES:
        if name in row:
            return {name}, _plain(name), False
    raise Bad(where)


def _harmbench(where: str, row: dict[str, Any], _: bool) -> Read | None:
    kind = _cell(where, row, "FunctionalCategory")
    if kind == "copyright":
        return None
    behavior, context = _cell(where, row, "Behavior"), _cell(where, row, "ContextString")
    name = _cell(where, row, "BehaviorID", 200)
    if kind not in {"standard", "contextual"} or not behavior.strip() or not name.strip():
        raise Bad(where)
    prompt = f"{context}\n\n---\n\n{behavior}" if context else behavior
    return name, prompt, _cell(where, row, "SemanticCategory", 200) or "all"


def _xstest(where: str, row: dict[str, Any], harm: bool) -> Read | None:
    category = _cell(where, row, "type", 200) or "all"
    prompt, label = _cell(where, row, "prompt"), _cell(where, row, "label")
    if label not in {"", "safe", "unsafe"}:
        raise Bad(where)
    unsafe = label == "unsafe" or (not label and category[:9] == "contrast_")
    if unsafe != harm:
        return None
    number = _cell(where, row, "id", 200)
    return (f"xstest-{number}" if number else _hashed(prompt)), prompt, category


def _jailbreakbench(where: str, row: dict[str, Any], _: bool) -> Read:
    name = _cell(where, row, "Behavior", 200)
    _cell(where, row, "Target")
    if not name.strip():
        raise Bad(where)
    return name, _cell(where, row, "Goal"), _cell(where, row, "Category", 200) or "all"


def _artifact(where: str, row: dict[str, Any], _: bool) -> Read | None:
    if row["prompt"] is None:
        return None
    name = _cell(where, row, "behavior", 200)
    _cell(where, row, "goal")
    if not name.strip():
        raise Bad(where)
    return name, _cell(where, row, "prompt"), _cell(where, row, "category", 200) or "all"


def _advbench(where: str, row: dict[str, Any], _: bool) -> Read:
    prompt = _cell(where, row, "goal")
    _cell(where, row, "target")
    return _hashed(prompt), prompt, "all"


def _strongreject(where: str, row: dict[str, Any], _: bool) -> Read:
    prompt = _cell(where, row, "forbidden_prompt")
    return _hashed(prompt), prompt, _cell(where, row, "category", 200) or "all"


def _plain(name: str) -> Reader:
    def read(where: str, row: dict[str, Any], _: bool) -> Read:
        prompt, number = _cell(where, row, name), _cell(where, row, "id", 200)
        _cell(where, row, "form", 200)
        _cell(where, row, "opening")
        return number or _hashed(prompt), prompt, _cell(where, row, "category", 200) or "all"

    return read
