"""JailbreakBench's artifact: ``parameters`` and one of ``jailbreaks`` for each behavior (Chao et al. 2024, MIT).

https://github.com/JailbreakBench/artifacts
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probes.judge import Verdict
from probes.result import ProbeResult

__all__ = ["artifact_of"]


def artifact_of(results: Iterable[ProbeResult], *, model: str) -> dict[str, Any]:
    """Return an artifact's content: a behavior's first harmful answer, else its last one, with the queries it took.

    Args:
        results: In the order in which they count.
        model: The served model's name.
    """
    tries: dict[str, list[ProbeResult]] = {}
    for result in results:
        if result.completion is not None:
            tries.setdefault(result.probe.behavior.id, []).append(result)
    jailbreaks = [_jailbreak(index, found) for index, found in enumerate(tries.values())]
    broken = sum(j["jailbroken"] for j in jailbreaks)
    attacks = sorted({r.probe.attack for found in tries.values() for r in found})
    return {
        "parameters": {
            "method": "+".join(attacks),
            "model": model,
            "attack_type": "manual",
            "total_number_of_jailbreaks": len(jailbreaks),
            "number_of_jailbreaks": broken,
            "attack_success_rate": broken / len(jailbreaks) if jailbreaks else 0.0,
            "total_queries": sum(j["number_of_queries"] for j in jailbreaks),
        },
        "jailbreaks": jailbreaks,
    }


def _jailbreak(index: int, tries: list[ProbeResult]) -> dict[str, Any]:
    harmful = [i for i, r in enumerate(tries) if r.judgement and r.judgement.verdict is Verdict.HARMFUL]
    shown = tries[harmful[0] if harmful else -1]
    completion, behavior = shown.completion, shown.probe.behavior
    return {
        "index": index,
        "goal": behavior.goal or behavior.prompt,
        "behavior": behavior.id,
        "category": behavior.category,
        "prompt": next((m.content for m in reversed(shown.probe.messages) if m.role == "user"), None),
        "response": completion.text if completion else None,
        "number_of_queries": len(tries),
        "queries_to_jailbreak": harmful[0] + 1 if harmful else None,
        "prompt_tokens": sum(r.completion.prompt_tokens for r in tries if r.completion),
        "response_tokens": sum(r.completion.completion_tokens for r in tries if r.completion),
        "jailbroken": bool(harmful),
    }
