"""A site's own texts for attacks: one text a line, blocks of text, or JSON.

Lines are kept as they are, spaces and ``#`` included, for a suffix found by search may hold anything.
"""

from __future__ import annotations

import json
from pathlib import Path

from probes.errors import AttackError

__all__ = ["read_json", "read_lines", "read_texts"]

_BYTES_MAX = 8 * 2**20
_SEPARATOR = "---"


def read_lines(path: Path) -> tuple[str, ...]:
    r"""Read a file of one text a line; lines of nothing but white space are left out.

    Only a line feed ends a line (with or without a carriage return before it): other separators belong to the text.

    Raises:
        AttackError: The file can't be used, or holds no text.
    """
    lines = (line.removesuffix("\r") for line in _read(path).split("\n"))
    return _some(path, tuple(line for line in lines if line.strip()), "write one text a line")


def read_texts(path: Path) -> tuple[str, ...]:
    """Read a file of texts that may have several lines.

    A ``.json`` file holds a list of strings. In any other file a line of three dashes stands between two texts.

    Raises:
        AttackError: The file can't be used, or holds no text.
    """
    if path.suffix == ".json":
        found = read_json(path)
        if not isinstance(found, list) or not all(isinstance(text, str) and text.strip() for text in found):
            raise AttackError(f"{path}: must hold a list of strings, none of them empty")
        return _some(path, tuple(found), "write a list of strings")
    blocks: list[list[str]] = [[]]
    for line in _read(path).split("\n"):
        if line.strip() == _SEPARATOR:
            blocks.append([])
        else:
            blocks[-1].append(line.removesuffix("\r"))
    texts = ("\n".join(block).strip() for block in blocks)
    return _some(path, tuple(text for text in texts if text), f"write texts with a line of {_SEPARATOR} between two")


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        AttackError: The file can't be used.
    """
    try:
        found = json.loads(_read(path))
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise AttackError(f"{path}: holds half of a character (a lone surrogate); mend the text") from error
    except (ValueError, RecursionError) as error:
        raise AttackError(f"{path}: no valid JSON ({error}); mend the file") from error
    return found


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise AttackError(f"{path}: there is no such file; check the path")
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise AttackError(f"{path}: can't be read ({error}); check the path and who may read it") from error
    if len(content) > _BYTES_MAX:
        raise AttackError(f"{path}: larger than {_BYTES_MAX // 2**20} MiB; is this the right file? Else split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AttackError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from error


def _some(path: Path, texts: tuple[str, ...], way_out: str) -> tuple[str, ...]:
    if not texts:
        raise AttackError(f"{path}: there is nothing in it; {way_out}")
    return texts
