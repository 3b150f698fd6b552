"""Runs of words that prompts share: how a set is found to repeat another one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from probes.behavior import Behavior, BehaviorId

__all__ = ["Run", "shared_runs", "word_runs"]

Run = tuple[str, ...]
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def word_runs(behaviors: Iterable[Behavior], n: int) -> dict[Run, BehaviorId]:
    """Every run of ``n`` words, in lower case and without punctuation, with the first id it was seen in."""
    found: dict[Run, BehaviorId] = {}
    for behavior in behaviors:
        words = _WORD.findall(behavior.prompt.lower())
        for i in range(len(words) - n + 1):
            found.setdefault(tuple(words[i : i + n]), behavior.id)
    return found


def shared_runs(
    one: Iterable[Behavior], other: Iterable[Behavior], *, n: int
) -> Mapping[Run, tuple[BehaviorId, BehaviorId]]:
    """Every run of ``n`` words that stands in both, with an id of either."""
    mine, theirs = word_runs(one, n), word_runs(other, n)
    return {run: (mine[run], theirs[run]) for run in mine.keys() & theirs.keys()}
