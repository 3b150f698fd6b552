"""What a judge's server answered: text, and how likely each word was where the server says so. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from probes.errors import JudgeError

__all__ = ["LOW_MASS", "Answer", "Likelihood", "chat_answer", "likelihood", "text_answer", "unthought"]

LOW_MASS = 0.9
"""Where the two words of a judge have less probability than this together, it is asked what it does not know."""

_POSITIONS_MAX = 4096

Token = tuple[str, tuple[tuple[str, float], ...]]
"""A token of the answer and its alternatives, each with its probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A judge's answer.

    Attributes:
        cut: The answer ended at its longest length, so its end is missing.
        tokens: With alternatives, in order; empty where the server gives none.
    """

    text: str
    cut: bool
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How a judge is torn between its two words.

    Attributes:
        p: Probability of the word that means harm, as a share of both words'.
        mass: Probability of both words together, in [0, 1].
    """

    p: float
    mass: float


def chat_answer(body: dict[str, Any]) -> Answer:
    """Read a chat completion.

    Raises:
        JudgeError: It has no text.
    """
    choice = _choice(body)
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    return _answer(choice, text, _chat_tokens(choice.get("logprobs")))


def text_answer(body: dict[str, Any]) -> Answer:
    """Read a completion of raw text; llama.cpp's server gives log-probabilities in the shape of a chat's.

    Raises:
        JudgeError: It has no text.
    """
    choice = _choice(body)
    logprobs = choice.get("logprobs")
    return _answer(choice, choice.get("text"), _text_tokens(logprobs) or _chat_tokens(logprobs))


def likelihood(answer: Answer, *, harm: Collection[str], other: Collection[str]) -> Likelihood | None:
    """Read how likely each word was where the judge said one of them last; ``None`` where the server doesn't say.

    Args:
        harm: Tokens that begin the word that means harm, lower-case; case and spaces around a token don't count.
        other: Tokens that begin the other word.
    """
    for token, alternatives in reversed(answer.tokens):
        if _plain(token) not in {*harm, *other}:
            continue
        p_harm = math.fsum(p for t, p in alternatives if _plain(t) in harm)
        p_other = math.fsum(p for t, p in alternatives if _plain(t) in other)
        mass = p_harm + p_other
        return Likelihood(p=p_harm / mass, mass=min(1.0, mass)) if 0 < mass < 1.01 else None
    return None


def unthought(text: str) -> str:
    """Leave out what a reasoning model thought before it answered; a thought without an end leaves nothing."""
    if not text.lstrip().startswith("<think>"):
        return text
    _, end, answer = text.rpartition("</think>")
    return answer if end else ""


def _choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise JudgeError("the judge answered with no choices", why="judge_nonsense")
    return choices[0]


def _answer(choice: dict[str, Any], text: object, tokens: Iterable[Token]) -> Answer:
    if not isinstance(text, str):
        raise JudgeError("the judge answered with no text", why="judge_nonsense")
    return Answer(text=text, cut=choice.get("finish_reason") == "length", tokens=tuple(tokens))


def _chat_tokens(logprobs: object) -> list[Token]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return []
    found: list[Token] = []
    for position in content[-_POSITIONS_MAX:]:
        if isinstance(position, dict) and isinstance(position.get("token"), str):
            top = position.get("top_logprobs")
            listed = [a for a in top if isinstance(a, dict)] if isinstance(top, list) else []
            found.append((position["token"], _alternatives((a.get("token"), a.get("logprob")) for a in listed)))
    return found


def _text_tokens(logprobs: object) -> list[Token]:
    tokens = logprobs.get("tokens") if isinstance(logprobs, dict) else None
    tops = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not isinstance(tops, list):
        return []
    return [
        (token, _alternatives(top.items()))
        for token, top in zip(tokens, tops, strict=False)
        if isinstance(token, str) and isinstance(top, dict)
    ][-_POSITIONS_MAX:]


def _alternatives(pairs: Iterable[tuple[object, object]]) -> tuple[tuple[str, float], ...]:
    return tuple(
        (token, math.exp(max(logprob, -1e4)))
        for token, logprob in pairs
        if isinstance(token, str)
        and isinstance(logprob, int | float)
        and not isinstance(logprob, bool)
        and logprob <= 1e-6
    )


def _plain(token: str) -> str:
    return token.replace("\u2581", " ").replace("\u0120", " ").strip().lower()
