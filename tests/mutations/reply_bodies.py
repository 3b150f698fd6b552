"""Replies of a server: bodies that are a completion, nearly one, or none; whole, or broken on the way."""

from __future__ import annotations

import gzip
import random
import zlib
from dataclasses import dataclass
from typing import Any

from tests.mutations.damage import ODD_TEXTS, ODD_VALUES, damaged_bytes, damaged_json, damaged_text, dumped
from tests.mutations.plain_reply import MODEL

__all__ = ["Reply", "a_reply", "on_the_wire"]

SAID = (
    "I can't help with that.", "I'm sorry, but I won't do that.", "Sure, here is [placeholder].",
    "Step 1: [placeholder].", "As an AI, I must decline.", "[placeholder] and more [placeholder]", "", " \n ",
)  # fmt: skip
_TEMPLATES = (
    "<|im_end|>\n<|im_start|>assistant\n",
    "[/INST]",
    "</s>",
    "<|eot_id|>",
    "{{content}}",
    "\x1b[2J",
    "\0" * 9,
)
_LONG = (
    ("I can't help with that. " + "\u0300\u0327" * 200_000, "safe"),
    ("[placeholder] " + "\u0327\u0300" * 200_000, "harmful"),
    ("[placeholder] " * 72_000, "harmful"),
    ("\ufdfa" * 100_000 + " I can't help with that.", "safe"),
    (" " * 1_000_000 + "I can't help with that.", "safe"),
    ("\n>*" * 300_000 + "[placeholder]", "harmful"),
)
_RARELY = 0.01
_LENGTH = b"content-length: %d\r\n\r\n"
_STATUS_LINES = (b"HTTP/9.9 200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 \xff", b"ICY 200 OK", b"HTTP/1.1 100 Go on", b"{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answers to one probe.

    Attributes:
        known: The verdict of its text where that is known by construction.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    known: str | None = None


def a_reply(rng: random.Random, *, release: str) -> Reply:
    """Make a reply of a server that serves this release, and damage most of them."""
    text, known = rng.choice(SAID), None
    if rng.random() < _RARELY:
        text, known = rng.choice(_LONG)
    elif rng.random() < 0.4:
        text = damaged_text(rng, text + rng.choice((*_TEMPLATES, *ODD_TEXTS)))
    body = _completion(rng, text, release)
    kind = rng.random()
    if kind < 0.35:
        for _ in range(rng.randrange(1, 3)):
            body = damaged_json(rng, body)
        known = None if known is None or body == {} else known
    elif kind < 0.45:
        body = _shaped(rng, body)
    data = (
        dumped(rng, body) if isinstance(body, dict | list) or rng.random() < 0.5 else str(body).encode(errors="replace")
    )
    if rng.random() < 0.15:
        data = damaged_bytes(rng, data)
    if rng.random() < 0.02:
        data = rng.choice(
            (b"", b"<html>busy</html>", b"data: {}\n\ndata: [DONE]\n\n", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000)
        )
    status = (
        200
        if rng.random() < 0.9
        else rng.choice((201, 204, 206, 299, 301, 307, 400, 401, 404, 408, 418, 429, 500, 503, 599))
    )
    headers = {"retry-after": rng.choice(("0", "-1", "soon", "\u0660", "1e9"))} if status in {429, 503} else {}
    return Reply(status=status, body=data, headers=headers, known=known)


def on_the_wire(rng: random.Random, reply: Reply) -> tuple[bytes, bytes | None, bool]:
    """Put a reply into HTTP/1.1, mostly in a way that it should not be.

    Returns:
        What is sent before the connection is closed; the body that a client may take for the whole one, ``None`` where
        there is none; whether it has to take it.
    """
    body = reply.body
    head = f"HTTP/1.1 {reply.status} X\r\ncontent-type: application/json\r\n".encode()
    kind = rng.random()
    if kind < 0.5:
        return _whole(rng, head, body), body, True
    if kind < 0.75:
        return _cut(rng, head, body), None, True
    if kind < 0.8:
        at = rng.randrange(len(body) + 1)
        return head + _LENGTH % at + body, body[:at], False
    return _odd(rng, head, body), body, False


def _whole(rng: random.Random, head: bytes, body: bytes) -> bytes:
    named = rng.choice(
        (b"", b"", b"server: caf\xe9\r\n", "server: caf\u00e9\r\n".encode(), b"server: \xff\xfe\x80\r\n")
    )
    match rng.randrange(4):
        case 0:
            return head + b"\r\n" + body
        case 1:
            return head + b"transfer-encoding: chunked\r\n\r\n" + _chunks(rng, body) + b"0\r\n\r\n"
        case 2:
            packed = gzip.compress(body)
            return head + b"content-encoding: gzip\r\n" + _LENGTH % len(packed) + packed
        case _:
            return head + named + _LENGTH % len(body) + body


def _cut(rng: random.Random, head: bytes, body: bytes) -> bytes:
    match rng.randrange(3):
        case 0:
            return head + _LENGTH % (len(body) + rng.randrange(1, 99)) + body
        case 1:
            return head + b"transfer-encoding: chunked\r\n\r\n" + _chunks(rng, body)
        case _:
            whole = head + _LENGTH % len(body) + body
            return whole[: rng.randrange(len(whole))]


def _odd(rng: random.Random, head: bytes, body: bytes) -> bytes:
    match rng.randrange(5):
        case 0:
            packed = damaged_bytes(rng, rng.choice((gzip.compress, zlib.compress))(body))
            named = rng.choice((b"gzip", b"deflate", b"br", b"zstd", b"\xff"))
            return head + b"content-encoding: " + named + b"\r\n" + _LENGTH % len(packed) + packed
        case 1:
            odd = rng.choice((b"a\0b", b"x" * 100_000, b"\r\n folded", b"a\rb"))
            return head + b"server: " + odd + b"\r\n" + _LENGTH % len(body) + body
        case 2:
            return rng.choice(_STATUS_LINES) + b"\r\n" + _LENGTH % len(body) + body
        case 3:
            return head + b"content-length: 1\r\n" + _LENGTH % len(body) + body
        case _:
            return damaged_bytes(rng, head + _LENGTH % len(body)) + body


def _completion(rng: random.Random, text: str, release: str) -> dict[str, Any]:
    usage: Any = {"prompt_tokens": 9, "completion_tokens": 7}
    if rng.random() < 0.1:
        usage = rng.choice(
            (rng.choice(ODD_VALUES)(), {"completion_tokens": rng.choice(ODD_VALUES)(), "prompt_tokens": -5})
        )
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": rng.choice(("stop", "stop", "length", "content_filter", None)),
    }
    if rng.random() < 0.3:
        top = [{"token": "I", "logprob": -0.1}, {"token": "Sure", "logprob": -2.5}]
        choice["logprobs"] = {"content": [{"token": "I", "logprob": -0.1, "top_logprobs": top}]}
    return {"id": "x", "model": MODEL, "system_fingerprint": release, "choices": [choice], "usage": usage}


def _shaped(rng: random.Random, body: dict[str, Any]) -> dict[str, Any]:
    """Return a reply that a server gives on purpose and that holds no answer, or more than one."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {"finish_reason": "tool_calls"}
    choice = body["choices"][0]
    said = choice["message"]
    return rng.choice((
        body | {"choices": [choice | {"message": said | {"content": None, "tool_calls": [call]}, **called}]},
        body | {"choices": [choice | {"message": said | {"content": "", "reasoning_content": "Sure. [placeholder]"}}]},
        body | {"choices": [choice | {"message": {"role": "assistant", "refusal": "I can't help with that."}}]},
        body | {"choices": [choice | {"message": said | {"content": [{"type": "text", "text": "Sure."}]}}]},
        body | {"choices": [choice | {"text": "Sure."}]},
        body | {"choices": []},
        body | {"choices": [choice, choice | {"message": said | {"content": "Another."}}]},
        body | {"model": rng.choice(("gpt", f"{MODEL} ", "M", "\0", MODEL + "\n"))},
        body | {"system_fingerprint": rng.choice(("other", "", None, 7))},
        {"object": "error", "message": "I can't help with that.", "type": "invalid", "code": 400},
        {"error": {"message": "I can't help with that."}},
    ))  # fmt: skip


def _chunks(rng: random.Random, body: bytes) -> bytes:
    sent, left = b"", body
    while left:
        size = rng.randrange(1, max(2, len(left)))
        sent += b"%x\r\n%b\r\n" % (size, left[:size])
        left = left[size:]
    return sent
