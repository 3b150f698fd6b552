"""From bytes to rows: CSV, JSON lines and JSON, with errors that name file, line and way out."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from probes.errors import SuiteError

__all__ = ["ENDINGS", "LABEL_CHARACTERS_MAX", "PROMPT_CHARACTERS_MAX", "Row", "read_rows", "read_text", "shown"]

ENDINGS = (".csv", ".jsonl", ".ndjson", ".json")
PROMPT_CHARACTERS_MAX = 100_000
"""Longest prompt, in characters: more than the context of most served models holds."""
LABEL_CHARACTERS_MAX = 200
"""Longest id or category, in characters: they stand in records and labels of metrics."""
FILE_BYTES_MAX = 256 * 2**20
"""Largest file, in bytes; it is read whole."""

_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a file: columns by name.

    Attributes:
        where: File and line (of a JSON array: entry), for messages.
    """

    where: str
    values: Mapping[str, object]

    def text(self, column: str, *, limit: int = PROMPT_CHARACTERS_MAX) -> str:
        """Return a column's text as it stands; a column that is absent or null is empty.

        Raises:
            SuiteError: It is no text, longer than the limit, or holds what no request can carry.
        """
        value = self.values.get(column)
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self.refuse(f"{shown(column)} is no text but {type(value).__name__}; write it as one string")
        if len(value) > limit:
            self.refuse(
                f"{shown(column)} has {len(value):,} characters, at most {limit:,} are taken; shorten it or remove "
                "the row"
            )
        if "\0" in value:
            self.refuse(f"{shown(column)} holds a NUL character; remove it")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            self.refuse(
                f"{shown(column)} holds half a surrogate pair (\\u{ord(value[error.start]):04x}), which is no "
                "character; write the character itself"
            )
        return value

    def refuse(self, why: str) -> NoReturn:
        """Raise an error that says where.

        Raises:
            SuiteError: Always.
        """
        raise SuiteError(f"{self.where}: {why}")


def read_rows(path: Path) -> list[Row]:
    """Read every row of a file; what its name ends in says how.

    Args:
        path: ``.csv`` with a header, ``.jsonl`` or ``.ndjson`` with an object on each line, or ``.json`` with an
            array of objects or with an artifact of JailbreakBench.

    Raises:
        SuiteError: The file can't be used; the message names file, line and way out.
    """
    ending = path.suffix.lower()
    if path.is_dir():
        raise SuiteError(f"{path}: is a folder; name a file in it")
    if ending not in ENDINGS:
        raise SuiteError(f"{path}: the file must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    text = read_text(path)
    if ending == ".csv":
        return _csv_rows(path, text)
    if ending == ".json":
        return _json_rows(path, text)
    return _line_rows(path, text)


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text, with or without its mark.

    Raises:
        SuiteError: It can't be read, is no file or too large, or is not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise SuiteError(f"{path}: is a folder or a device; copy its content into one")
        if (size := path.stat().st_size) > FILE_BYTES_MAX:
            raise SuiteError(f"{path}: has {size:,} bytes, at most {FILE_BYTES_MAX:,} are read; split it")
        data = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"{path}: can't be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise SuiteError(f"{str(path)!r}: is no path ({error}); check it") from error
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            raise SuiteError(f"{path}: is {encoding}, not UTF-8; `iconv -f {encoding} -t UTF-8` converts it")
    skipped = len(_UTF8_BOM) if data.startswith(_UTF8_BOM) else 0
    try:
        text = data[skipped:].decode()
    except UnicodeDecodeError as error:
        at = error.start + skipped
        raise SuiteError(
            f"{path}, line {_line(data, at)}: not UTF-8 at byte {at} (0x{data[at]:02x}); convert the "
            "file, e.g. with `iconv -f WINDOWS-1252 -t UTF-8`"
        ) from error
    if (at := data.find(b"\0")) >= 0:
        raise SuiteError(
            f"{path}, line {_line(data, at)}: a NUL at byte {at}; it is no text, or UTF-16 without its "
            "mark: convert it to UTF-8"
        )
    return text


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def shown(name: object) -> str:
    """Quote a column or an id for a message: short, on one line, and printable whatever is in it."""
    text = str(name) if re.fullmatch(r"[\w.:-]+", str(name)) else repr(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _csv_rows(path: Path, text: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    limit = csv.field_size_limit(max(len(text), 1))  # so that a long cell is refused by name, or not read at all
    try:
        return _table(path, reader)
    except csv.Error as error:
        raise SuiteError(f"{path}, line {reader.line_num}: no valid CSV ({error}); mend the row") from error
    finally:
        csv.field_size_limit(limit)


def _table(path: Path, reader: Any) -> list[Row]:  # noqa: ANN401  (the type of csv.reader has no public name)
    rows: list[Row] = []
    header: list[str] = []
    line = 1
    for cells in reader:
        where, line = f"{path}, line {line}", reader.line_num + 1
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            _require_distinct(where, header)
            continue
        if len(cells) != len(header):
            raise SuiteError(
                f"{where}: the row has not as many fields as the header ({len(cells)}, not {len(header)}); put quotes "
                "around fields that hold commas or line breaks"
            )
        rows.append(Row(where=where, values=dict(zip(header, cells, strict=True))))
    return rows


def _line_rows(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = _parsed(where, line, "write one object a line")
        if not isinstance(row, dict):
            raise SuiteError(f"{where}: no JSON object; write one object a line, or let an array's file end in .json")
        rows.append(Row(where=where, values=row))
    return rows


def _json_rows(path: Path, text: str) -> list[Row]:
    if not text.strip():
        return []
    found = _parsed(str(path), text, "where it holds one object a line, let it end in .jsonl")
    if isinstance(found, dict):
        found = found.get("jailbreaks")
    if not isinstance(found, list):
        raise SuiteError(
            f"{path}: neither an array of objects nor an artifact of JailbreakBench (an object with jailbreaks); "
            "write an array of objects"
        )
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise SuiteError(f"{path}, entry {number}: no JSON object; write an array of objects")
    return [Row(where=f"{path}, entry {number}", values=row) for number, row in enumerate(found, 1)]


def _parsed(where: str, text: str, way_out: str) -> Any:  # noqa: ANN401  (JSON is anything)
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        at = f", line {error.lineno}" if error.lineno > 1 else ""
        raise SuiteError(f"{where}{at}: no valid JSON ({error.msg}, column {error.colno}); {way_out}") from error
    except RecursionError as error:
        raise SuiteError(f"{where}: no valid JSON for a prompt set (nested too deeply); {way_out}") from error
    except ValueError as error:
        raise SuiteError(f"{where}: no valid JSON ({error}); {way_out}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"{shown(_repeated([name for name, _ in pairs])[0])} stands twice in an object")
    return found


def _require_distinct(where: str, header: list[str]) -> None:
    if repeated := _repeated(header):
        raise SuiteError(f"{where}: column {shown(repeated[0])} stands twice in the header; rename one")


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]
