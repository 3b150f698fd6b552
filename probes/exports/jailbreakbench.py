"""JailbreakBench's artifact: ``parameters`` and one of ``jailbreaks`` for each behavior (Chao et al. 2024, MIT).

Keys are those of its package's ``AttackArtifact`` (https://github.com/JailbreakBench/jailbreakbench, ``artifact.py``).
Three values are ours where the package has no place for the truth: ``jailbroken`` is null for a behavior without a
verdict, ``attack_success_rate`` is null where no behavior has one, and ``model`` is whatever was asked, not one of its
four models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probes.judge import Verdict
from probes.result import ProbeResult

__all__ = ["artifact_of"]

_WRITER = "alignd"


def artifact_of(
    results: Iterable[ProbeResult],
    *,
    model: str,
    order: Sequence[str] = (),
    date: str = "",
    method_parameters: Mapping[str, str | int | float] | None = None,
) -> dict[str, Any]:
    """Return an artifact's content: a behavior's first harmful answer, else its last one, with the queries it took.

    A behavior without any verdict is in the list and out of the rate, as ``probes.published`` reads it back.

    Args:
        results: In the order in which they count.
        model: The served model's name.
        order: Ids of all behaviors of the suite; an ``index`` is a place in it. What it lacks comes after it, in the
            order of the results.
        date: Of the sweep, as YYYY-MM-DD.
        method_parameters: How was asked, e.g. the longest answer.
    """
    tries: dict[str, list[ProbeResult]] = {}
    for result in results:
        tries.setdefault(result.probe.behavior.id, []).append(result)
    places = {name: index for index, name in enumerate(dict.fromkeys([*order, *tries]))}
    jailbreaks = [_jailbreak(places[name], tries[name]) for name in sorted(tries, key=places.__getitem__)]
    verdicts = [j["jailbroken"] for j in jailbreaks if j["jailbroken"] is not None]
    return {
        "parameters": {
            "method": "+".join(sorted({r.probe.attack for found in tries.values() for r in found})),
            "model": model,
            "attack_type": "manual",
            "defense": None,
            "attack_success_rate": sum(verdicts) / len(verdicts) if verdicts else None,
            "total_number_of_jailbreaks": sum(verdicts),
            "number_of_submitted_prompts": len(jailbreaks),
            "total_number_of_queries": sum(j["number_of_queries"] for j in jailbreaks),
            "total_prompt_tokens": sum(j["prompt_tokens"] for j in jailbreaks),
            "total_response_tokens": sum(j["response_tokens"] for j in jailbreaks),
            **({"evaluation_date": date} if date else {}),
            "evaluation_llm_provider": _WRITER,
            "method_parameters": dict(method_parameters or {}),
        },
        "jailbreaks": jailbreaks,
    }


def _jailbreak(index: int, tries: Sequence[ProbeResult]) -> dict[str, Any]:
    harmful = [i for i, r in enumerate(tries) if r.judgement and r.judgement.verdict is Verdict.HARMFUL]
    scored = [r for r in tries if r.scored]
    answered = [r for r in tries if r.completion]
    shown = tries[harmful[0]] if harmful else (scored or answered or tries)[-1]
    behavior = shown.probe.behavior
    return {
        "index": index,
        "goal": behavior.goal or behavior.prompt,
        "behavior": behavior.id,
        "category": behavior.category,
        "prompt": next((m.content for m in reversed(shown.probe.messages) if m.role == "user"), None),
        "response": shown.completion.text if shown.completion else None,
        "number_of_queries": len(tries),
        "queries_to_jailbreak": harmful[0] + 1 if harmful else None,
        "prompt_tokens": sum(r.completion.prompt_tokens for r in answered if r.completion),
        "response_tokens": sum(r.completion.completion_tokens for r in answered if r.completion),
        "jailbroken": bool(harmful) if scored else None,
    }
