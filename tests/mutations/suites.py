"""Files of prompts: each is a suite of just what a plain reader finds in it, or an error that names file and line."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

from probes.behavior import SuiteKind
from probes.errors import SuiteError
from probes.suites.readers import read_suite
from tests.mutations.damage import ODD_TEXTS, ODD_VALUES, damaged_bytes, damaged_text, dumped, swap
from tests.mutations.plain_reader import FORMATS, Bad, prompts_in

__all__ = ["check", "difference"]

_WORDS = (
    "Do a thing",
    "Do another, please",
    'Say "so"',
    "Two\nlines",
    " spaces ",
    "caf\u00e9",
    "\u4f60\u597d",
    "x" * 300,
    "\U0001f600",
)
_CATEGORIES = ("illegal", "homonyms", "contrast_homonyms", "", "Fraud/Deception")
_LONG = (100_000, 100_001, 10_000_000)


def check(rng: random.Random, folder: Path) -> str:
    """Read one mutated file; return what is wrong with how it was read."""
    ending = rng.choice((".csv", ".jsonl", ".json"))
    rows = _rows(rng, rng.choice(tuple(FORMATS)))
    damages = rng.choice((0, 1, 1, 1, 2, 3))
    at_rows = rng.random() < 0.5
    for _ in range(damages if at_rows else 0):
        rows = _damaged_rows(rng, rows, ending)
    data = _written(rng, rows, ending)
    for _ in range(0 if at_rows else damages):
        data = _damaged_file(rng, data)
    return difference(data, ending, folder, harm=rng.random() < 0.6)


def difference(data: bytes, ending: str, folder: Path, *, harm: bool) -> str:
    """Read a file twice; return how the two readings differ."""
    path = folder / f"set{ending}"
    path.write_bytes(data)
    try:
        expected, where = prompts_in(data, ending, harm=harm), ""
    except Bad as bad:
        expected, where = None, bad.where
    try:
        suite = read_suite(path, SuiteKind.HARM if harm else SuiteKind.BENIGN)
    except SuiteError as error:
        return _of_error(str(error), path, where, refused=expected is None)
    if expected is None:
        return f"a file that can't be used was read ({where})"
    found = [(b.id, b.prompt, b.category) for b in suite.behaviors]
    return "" if found == expected else f"read otherwise: {found!r:.300} is not {expected!r:.300}"


def _of_error(said: str, path: Path, where: str, *, refused: bool) -> str:
    if not refused:
        return f"a good file was refused: {said}"
    if str(path) not in said or len(said.encode()) > 1000 or not said.isprintable():
        return f"the message names no file, or is not to be read: {said!r}"
    return "" if where in said else f"the message does not name {where}: {said}"


def _rows(rng: random.Random, known: str) -> list[dict[str, Any]]:
    def cell(name: str, number: int) -> Any:  # noqa: ANN401 a cell is anything
        match name:
            case "FunctionalCategory":
                return rng.choice(("standard", "contextual", "copyright"))
            case "label":
                return rng.choice(("safe", "unsafe", ""))
            case "type" | "category" | "Category" | "SemanticCategory":
                return rng.choice(_CATEGORIES)
            case "ContextString" | "note" | "opening" | "form":
                return rng.choice(("", "", "some words"))
            case "id" | "BehaviorID" | "index" | "Index":
                return f"{name}-{number}" if rng.random() < 0.7 else str(number)
            case _:
                return f"{rng.choice(_WORDS)} {number}" if rng.random() < 0.9 else rng.choice(_WORDS)

    return [{name: cell(name, number) for name in FORMATS[known]} for number in range(rng.randrange(1, 6))]


def _damaged_rows(rng: random.Random, rows: list[dict[str, Any]], ending: str) -> list[dict[str, Any]]:  # noqa: C901, PLR0911 one return for each kind of damage
    if not rows:
        return rows
    row = rng.randrange(len(rows))
    name = rng.choice(tuple(rows[row]) or ("prompt",))
    match rng.randrange(10):
        case 0:
            return [{k: v for k, v in r.items() if k != name} for r in rows]
        case 1:
            return [
                {rng.choice((f" {k}", k.upper(), "", "text")) if k == name else k: v for k, v in r.items()}
                for r in rows
            ]
        case 2:
            return [*rows, rows[row]]
        case 3:
            return rows[:row] + rows[row + 1 :]
        case 4 if ending != ".csv":
            return [*rows[:row], {k: v for k, v in rows[row].items() if k != name}, *rows[row + 1 :]]
        case 5:
            long = rng.choice(_LONG) if rng.random() < 0.05 else 201
            return [*rows[:row], rows[row] | {name: "a" * long}, *rows[row + 1 :]]
        case 6 if ending != ".csv":
            return [*rows[:row], rows[row] | {name: rng.choice(ODD_VALUES)()}, *rows[row + 1 :]]
        case 7:
            other = rng.choice(tuple(rows[row]) or ("prompt",))
            return [r | {name: r.get(other, "")} for r in rows]
        case 8 if rng.random() < 0.02:
            return [r | {f"c{i}": "" for i in range(60_000)} for r in rows[:1]]
        case _:
            return [*rows[:row], rows[row] | {name: rng.choice(ODD_TEXTS)}, *rows[row + 1 :]]


def _written(rng: random.Random, rows: list[dict[str, Any]], ending: str) -> bytes:
    if ending == ".json":
        return dumped(rng, {"parameters": {}, "jailbreaks": rows} if rng.random() < 0.4 else rows)
    if ending == ".jsonl":
        end = rng.choice(("\n", "\r\n", "\n\n"))
        return end.join(json.dumps(row, ensure_ascii=rng.random() < 0.7) for row in rows).encode(
            "utf-8", "surrogatepass"
        )
    out = io.StringIO(newline="")
    header = list(rows[0]) if rows else ["prompt"]
    writer = csv.writer(
        out, lineterminator=rng.choice(("\n", "\r\n", "\r")), quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    )
    writer.writerow(header)
    writer.writerows([row.get(name, "") for name in header] for row in rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _damaged_file(rng: random.Random, data: bytes) -> bytes:  # noqa: C901, PLR0911 one return for each kind of damage
    text = data.decode("utf-8", "surrogatepass") if rng.random() < 0.5 and data.isascii() else ""
    match rng.randrange(12):
        case 0:
            return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0\0\xfe\xff")) + data
        case 1:
            return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32")))
        case 2:
            return data.decode("utf-8", "replace").encode("cp1252", "replace")
        case 3:
            lines = data.split(b"\n")
            swap(rng, lines)
            return b"\n".join(lines)
        case 4:
            return data.replace(b",", rng.choice((b";", b"\t", b",,")))
        case 5:
            return data.replace(b'"', rng.choice((b"", b"'", b'""')), rng.randrange(1, 4))
        case 6:
            return data + rng.choice((b"{" * 5000, b"[" * 5000, b"\n[[1]]", b'\n{"a":' * 3000, b"\x1a", b"\n\n\n"))
        case 7:
            return data.replace(b'":', b'": NaN, "x":', 1)
        case 8:
            return data * 2
        case 9 if text:
            return damaged_text(rng, text).encode("utf-8", "surrogatepass")
        case _:
            return damaged_bytes(rng, data)
