"""What goes wrong with bytes, texts and JSON on their way: seeded, and without any notion of what they mean."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["ODD_TEXTS", "ODD_VALUES", "damaged_bytes", "damaged_json", "damaged_text", "dumped", "swap"]

ODD_TEXTS = (
    "", " ", "\n", "\r", "\r\n", "\t", "\0", "\ufeff", "\u2028", "\x85", "\x0b", "\x1b[31m", "\u200b", "\u202e",
    "\ufffd", "\ud800", "\udfff\ud800", "e\u0301", "\u212b", "\ufdfa", "\U0001f600", "'", '"', '""', "\\", ",", ";",
    "{", "}", "{{", "%s", "<|im_end|>", "<|eot_id|>", "[/INST]", "</s>", "<think>", "</think>", "NaN", "null", "None",
    "-1", "1e999",
)  # fmt: skip
"""Short texts that break one program or another."""

ODD_VALUES: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: -1, lambda: 1.5, lambda: -0.0, lambda: 2**63,
    lambda: -(2**63), lambda: 10**400, lambda: -(10**400), lambda: float("nan"), lambda: float("inf"), lambda: "",
    lambda: " ", lambda: "7", lambda: "\0", lambda: "\ud800", list, dict, lambda: [None], lambda: [[]],
    lambda: {"": None}, lambda: {"content": "x"}, lambda: [{"type": "text", "text": "x"}], lambda: "x" * 100_000,
    lambda: _deep(60),
)  # fmt: skip
"""Make values of every type that JSON has, and of sizes that it should not have."""


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, put in, take out or repeat some bytes."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 5, 40)))
    piece = rng.choice((
        b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b",", b"\n", b"\r", b"}", b"]", b"[",
        b"\\", b"\\u0000", b"\\ud800", b"\xe2\x80\xa8", rng.randbytes(3),
    ))  # fmt: skip
    match rng.randrange(6):
        case 0 if data:
            flipped = bytearray(data)
            flipped[at % len(data)] ^= 1 << rng.randrange(8)
            return bytes(flipped)
        case 1:
            return data[:at]
        case 2:
            return data[:at] + piece + data[at:]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:end] + data[at:]
        case _:
            return data[:at] + piece + data[end:]


def damaged_text(rng: random.Random, text: str) -> str:
    """Put in, take out, repeat or cut some characters."""
    at = rng.randrange(len(text) + 1)
    end = min(len(text), at + rng.choice((1, 1, 2, 5, 40)))
    match rng.randrange(6):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + text[end:]
        case 2:
            return text[:end] + text[at:]
        case 3:
            return text[:at] + rng.choice(ODD_TEXTS) + text[end:]
        case 4:
            return text[at:] + text[:at]
        case _:
            return text[:at] + rng.choice(ODD_TEXTS) + text[at:]


def damaged_json(rng: random.Random, value: Any) -> Any:  # noqa: ANN401 JSON is anything
    """Return a copy of a JSON value in which one part is another value, is gone, or stands somewhere else too."""
    found = copy.deepcopy(value)
    places = _places(found)
    if not places:
        return rng.choice(ODD_VALUES)()
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice((f"{key} ", str(key).upper(), "", "\ud800", "extra"))] = holder.pop(key)
        case 2:
            other, there = rng.choice(places)
            holder[key] = copy.deepcopy(other[there])
        case _:
            holder[key] = rng.choice(ODD_VALUES)()
    return found


def dumped(rng: random.Random, value: Any) -> bytes:  # noqa: ANN401 JSON is anything
    """Write JSON as one program or another does."""
    plain = rng.random() < 0.7
    text = json.dumps(value, ensure_ascii=plain, indent=rng.choice((None, None, 1)))
    return text.encode("utf-8", "surrogatepass")


def swap(rng: random.Random, lines: list[bytes]) -> None:
    """Change two lines' places."""
    if lines:
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[i], lines[j] = lines[j], lines[i]


def _places(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 JSON is anything
    """List every (holder, key or index) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys: Any = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


def _deep(levels: int) -> Any:  # noqa: ANN401 JSON is anything
    found: Any = None
    for _ in range(levels):
        found = [found]
    return found
