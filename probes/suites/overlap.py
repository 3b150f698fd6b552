"""Runs of words that prompts share: how a set is found to repeat another one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from probes.behavior import Behavior, BehaviorId

__all__ = ["Run", "repeating", "shared_runs", "word_runs"]

Run = tuple[str, ...]
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def word_runs(behaviors: Iterable[Behavior], n: int) -> dict[Run, BehaviorId]:
    """Every run of ``n`` words, in lower case and without punctuation, with the first id it was seen in."""
    found: dict[Run, BehaviorId] = {}
    for behavior in behaviors:
        words = _words(behavior)
        for i in range(len(words) - n + 1):
            found.setdefault(words[i : i + n], behavior.id)
    return found


def shared_runs(
    one: Iterable[Behavior], other: Iterable[Behavior], *, n: int
) -> Mapping[Run, tuple[BehaviorId, BehaviorId]]:
    """Every run of ``n`` words that stands in both, with an id of either."""
    mine, theirs = word_runs(one, n), word_runs(other, n)
    return {run: (mine[run], theirs[run]) for run in mine.keys() & theirs.keys()}


def repeating(behaviors: Iterable[Behavior], other: Iterable[Behavior], *, n: int) -> tuple[BehaviorId, ...]:
    """Ids of the behaviors that share a run of ``n`` words with another set, or are the same word for word."""
    theirs = tuple(other)
    runs, whole = word_runs(theirs, n), {_words(b) for b in theirs}
    return tuple(b.id for b in behaviors if _words(b) in whole or word_runs([b], n).keys() & runs.keys())


def _words(behavior: Behavior) -> tuple[str, ...]:
    return tuple(_WORD.findall(behavior.prompt.lower()))
