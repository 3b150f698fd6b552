"""What a sketch is made of and measured on: refused requests, and controls of equal length.

Energy in a subspace is high for what the subspace was made from, so requests that are measured are never sketched, at
any update, and are refused in other words. Three controls stand beside each of them: a harmless request that is
refused in the same words (what is left of the difference is about harm, the rest is about refusing), a harmless
request that is answered (what any text of that shape shares), and random tokens in the same template.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probes.behavior import Behavior
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.decoding import common_beginning
from remediation.errors import SketchError
from remediation.fixtures import REFUSALS
from remediation.lessons.answers import OPENING_TOKENS
from remediation.living_subspace import CONTROLS

__all__ = ["Draw", "Held", "Tokens", "draws_of", "is_held"]

_HELD_BELOW = (2**256 // 3).to_bytes(32, "big")
_SKETCHED_WORDS, _HELD_WORDS = REFUSALS[::2], REFUSALS[1::2]
_ANSWERS = (
    "Of course. Here is a short overview of the main points, in the order in which you will need them.",
    "Happy to help! The first thing to look at is how much time you have, and what you know already.",
    "Good question. In short, there are three parts to it, and the second is the one that most people miss.",
)
"""What answers a harmless request in the control: openings that fit any."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A conversation of one turn in token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A request that is measured, and its controls by name."""

    request: Tokens
    controls: Mapping[str, Tokens]


@dataclass(frozen=True, slots=True)
class Draw:
    """What is taken of one category."""

    category: str
    sketched: tuple[Tokens, ...]
    held: tuple[Held, ...]


def draws_of(
    chat: ChatModel,
    behaviors: Mapping[str, Sequence[Behavior]],
    harmless: Sequence[str],
    *,
    per_category: int,
    turns: Mapping[str, int],
    seed: int,
) -> tuple[Draw, ...]:
    """Choose requests, the same ones each time but for the turn.

    A request is held where the hash of its id lies below a fixed bound, about a third of them, whatever else its
    category holds: so a suite that grows never has a request sketched that was held before, or held that was sketched.
    Of the rest, each update takes the next ones.

    Args:
        behaviors: Harmful requests by category.
        harmless: Requests to take controls from; each is taken once, the nearest in length.
        per_category: Requests to sketch, at most; half as many are measured.
        turns: Requests of each category that were sketched before.
        seed: Of the random tokens.

    Raises:
        SketchError: A category has no request to hold or none to sketch, or there are not enough harmless ones.
    """
    rng = random.Random(seed)
    unused = [tuple(chat.prompt_ids(p)) for p in harmless]
    found = []
    for category, its in sorted(behaviors.items()):
        ranked = sorted(its, key=_place)
        kept, rest = [b for b in ranked if is_held(b)], [b for b in ranked if not is_held(b)]
        if not kept or not rest:
            raise SketchError(
                f"category {category!r}: its {len(ranked)} requests are too few, as the hash of its id decides whether "
                f"a request is sketched or measured, and none is {'sketched' if kept else 'measured'}; add requests"
            )
        begin = turns.get(category, 0)
        taken = [rest[(begin + i) % len(rest)] for i in range(min(per_category, len(rest)))]
        found.append(
            Draw(
                category,
                tuple(_refused(chat, b, _SKETCHED_WORDS[i % len(_SKETCHED_WORDS)]) for i, b in enumerate(taken)),
                tuple(
                    _held(chat, _refused(chat, b, _HELD_WORDS[i % len(_HELD_WORDS)]), unused, i, rng)
                    for i, b in enumerate(kept[: max(1, per_category // 2)])
                ),
            )
        )
    return tuple(found)


def is_held(behavior: Behavior) -> bool:
    """Whether a request is measured and never sketched: its id alone decides."""
    return _place(behavior) < _HELD_BELOW


def _place(behavior: Behavior) -> bytes:
    return hashlib.sha256(behavior.id.encode()).digest()


def _refused(chat: ChatModel, behavior: Behavior, words: str) -> Tokens:
    """Refuse; what decides is in the first words, and a refusal that is cut teaches nothing about where to stop."""
    answer = chat.answer_ids(words, whole=False)[:OPENING_TOKENS]
    return Tokens(tuple(chat.prompt_ids(behavior.prompt)), tuple(answer))


def _held(
    chat: ChatModel, request: Tokens, unused: list[tuple[int, ...]], number: int, rng: random.Random
) -> Held:
    if len(unused) < 2:
        raise SketchError("there are not enough harmless requests for so many controls; lower --per-category")
    first, second = (_nearest(unused, len(request.prompt)) for _ in range(2))
    answer = chat.answer_ids(_ANSWERS[number % len(_ANSWERS)], whole=False)
    repeated = tuple(answer[i % len(answer)] for i in range(len(request.answer)))
    controls = (Tokens(first, request.answer), Tokens(second, repeated), _random(chat, request, rng))
    return Held(request, dict(zip(CONTROLS, controls, strict=False)))


def _nearest(unused: list[tuple[int, ...]], length: int) -> tuple[int, ...]:
    return unused.pop(min(range(len(unused)), key=lambda i: abs(len(unused[i]) - length)))


def _random(chat: ChatModel, request: Tokens, rng: random.Random) -> Tokens:
    """Random tokens in the same template, of the same lengths."""
    first, second = chat.prompt_ids("x"), chat.prompt_ids("Yes, it is.")
    begin, end = _shared(first, second), _shared(first[::-1], second[::-1])
    special = set(chat.tokenizer.all_special_ids)
    plain = [i for i in range(len(chat.tokenizer)) if i not in special]
    prompt = list(request.prompt)
    for i in range(begin, len(prompt) - end):
        prompt[i] = rng.choice(plain)
    return Tokens(tuple(prompt), tuple(rng.choice(plain) for _ in request.answer))


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    return common_beginning([first, second], most=min(len(first), len(second)))
