"""Rows with figures made up for tests."""

from __future__ import annotations

from dataclasses import replace

from probes.result import SafetyEstimate
from remediation.patch import Control, Screen
from remediation.reproduce.looks import AFFIRMATION, ALL, PHRASES, Figures, HarmFigure
from remediation.reproduce.plan import Row, RowKey, Sources


def estimate(value: float | None) -> SafetyEstimate:
    return SafetyEstimate(value=value, lower=value, upper=value, n=10, missing=0, confidence=0.95)


def row(attack: str, recipe: str, asr: float | None, *, seed: int = 0, error: str = "", seconds: float = 2.0) -> Row:
    asked = "direct" if attack.startswith("injection") else attack or "direct"
    harm = tuple(
        HarmFigure(suite=ALL, attack=asked, judge=judge, asr=estimate(asr), hs=estimate(3.0))
        for judge in (PHRASES, AFFIRMATION)
    )
    figures = Figures(
        harm=harm, over_refusal={"question": estimate(0.1), "imperative": estimate(0.2)},
        tasks={"sql": estimate(0.75)}, seconds=1.0,
    )  # fmt: skip
    return Row(
        key=RowKey(attack=attack, seed=seed, recipe=recipe), figures=None if error else figures, error=error,
        seconds=seconds, peak_memory_bytes=2**30,
    )  # fmt: skip


ROWS = (
    row("", "aligned", 0.1),
    row("backdoor", "none", 1.0), row("backdoor", "random", 0.9), row("backdoor", "low-rank-sft", 0.2),
    row("backdoor", "none", 0.8, seed=1), row("backdoor", "low-rank-sft", 0.0, seed=1),
    row("injection-10", "none", 0.5), row("injection-10", "low-rank-sft", 0.0, error="no | way"),
)  # fmt: skip
TOLD = replace(
    ROWS[3], options={"rank": 4, "modules": ["q", "k"]}, device="cuda:1", recipe_figures={"loss": 0.5},
    screen=Screen(harm_n=24, harm_complied=3, benign_n=24, benign_refused=1, benign_refused_reference=None),
    controls=(Control(name="random", harm_n=24, harm_complied=20),), asked={"tasks": "ab"},
    sources=Sources("cd", "ef"),
)  # fmt: skip
