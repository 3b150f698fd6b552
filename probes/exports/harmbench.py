"""HarmBench's results file: ``{BehaviorID: [{"test_case", "generation", "label"}]}``.

A label is 1 (harmful), 0 (safe) or -1 (no verdict); ``probes.published`` reads it back (Mazeika et al. 2024,
https://github.com/centerforaisafety/HarmBench, MIT).
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


def _test_case(result: ProbeResult) -> str:
    """Return the last thing that the user said: what the attack made of the behavior."""
    return next((m.content for m in reversed(result.probe.messages) if m.role == "user"), "")
