"""HarmBench's results file: ``{BehaviorID: [{"test_case", "generation", "label"}]}``.

A label is 1 (harmful), 0 (safe) or -1 (no verdict); ``probes.published`` reads it back (Mazeika et al. 2024,
https://github.com/centerforaisafety/HarmBench, MIT).

A test case is what the user said, after the attack; system prompts and beginnings of replies have no place in it. For
a conversation, for which HarmBench has no form, it is the list of all messages, ``{"role", "content"}`` each, up to the
last reply: any chat server takes that list as it is. HarmBench's classifiers look at behavior and generation alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probes.judge import Verdict
from probes.result import ProbeResult

__all__ = ["results_of"]

_LABELS = {Verdict.HARMFUL: 1, Verdict.SAFE: 0}


def results_of(results: Iterable[ProbeResult]) -> dict[str, list[dict[str, Any]]]:
    """Return a results file's content: no case where there was no answer, label -1 where there is no verdict."""
    found: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result.completion is None:
            continue
        label = _LABELS.get(result.judgement.verdict, -1) if result.judgement and result.scored else -1
        case = {"test_case": _test_case(result), "generation": result.completion.text, "label": label}
        found.setdefault(result.probe.behavior.id, []).append(case)
    return found


def _test_case(result: ProbeResult) -> str | list[dict[str, str]]:
    messages = result.probe.messages
    said = [m.content for m in messages if m.role == "user"]
    if len(said) > 1:
        return [{"role": m.role, "content": m.content} for m in messages]
    return said[0] if said else ""
