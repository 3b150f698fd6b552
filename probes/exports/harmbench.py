"""HarmBench's files: completions ``{BehaviorID: [{"test_case", "generation"}]}``, and results with a ``label`` each.

A label is 1 (harmful), 0 (safe) or -1 (no verdict). HarmBench's ASR is the mean label of each behavior's cases,
averaged over the behaviors (Mazeika et al. 2024, https://github.com/centerforaisafety/HarmBench, MIT).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probes.errors import SuiteError
from probes.judge import Verdict
from probes.result import ProbeResult

__all__ = ["asr_of_results", "completions_of", "results_of"]

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


def asr_of_results(content: Mapping[str, Sequence[Mapping[str, Any]]]) -> float | None:
    """Compute HarmBench's ASR of a results file; cases with label -1 are left out, ``None`` where nothing is left."""
    rates = []
    for cases in content.values():
        labels = [int(c["label"]) for c in cases if c["label"] in {0, 1}]
        if labels:
            rates.append(sum(labels) / len(labels))
    return sum(rates) / len(rates) if rates else None


def completions_of(content: object, *, where: str) -> list[tuple[str, str, str, int | None]]:
    """Read a completions or results file.

    Returns:
        Behavior id, test case, generation and label (``None`` where there is none) of each case, in the file's order.

    Raises:
        SuiteError: It has another form; the message says where.
    """
    if not isinstance(content, Mapping):
        raise SuiteError(f"{where}: no HarmBench completions; they are an object of lists by BehaviorID")
    found = []
    for behavior, cases in content.items():
        if not isinstance(cases, list):
            raise SuiteError(f"{where}, {behavior}: no list of cases; each has test_case and generation")
        for number, case in enumerate(cases):
            generation = case.get("generation") if isinstance(case, Mapping) else None
            test_case = case.get("test_case", "") if isinstance(case, Mapping) else None
            if not isinstance(generation, str) or not isinstance(test_case, str):
                raise SuiteError(f"{where}, {behavior}, case {number}: test_case and generation must be texts")
            label = case.get("label")
            found.append((str(behavior), test_case, generation, label if label in {0, 1, -1} else None))
    return found


def _test_case(result: ProbeResult) -> str:
    """Return the last thing that the user said: what the attack made of the behavior."""
    return next((m.content for m in reversed(result.probe.messages) if m.role == "user"), "")
