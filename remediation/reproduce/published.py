"""Published figures to set a model's own beside, as data.

Source: "Safety at One Shot: Patching Fine-Tuned LLMs with a Single Instance" (ICLR 2026, arXiv 2601.01887). ASR there
is by HarmBench's classifier, in per cent; here rates lie in [0, 1]. Its "harmful examples" stand beside
``injection-100``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["SOURCE", "Anchor", "anchors_of"]

SOURCE = "arXiv 2601.01887"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A figure before and after the published one-shot patch.

    Attributes:
        attack: As this project names it, or ``sql-create`` for the paper's task mix.
        measure: ``asr``, ``hs`` or the name of a task.
        aligned: The aligned model's own figure, ``None`` where it is not given.
    """

    model: str
    attack: str
    measure: str
    before: float
    after: float
    aligned: float | None = None


def _attacks(model: str, before: str, after: str, aligned: float | None) -> tuple[Anchor, ...]:
    names = ("injection-100", "identity-shift", "backdoor", "patch-poisoning")
    return tuple(
        Anchor(model=model, attack=a, measure="asr", before=_share(b), after=_share(c), aligned=aligned)
        for a, b, c in zip(names, before.split(), after.split(), strict=True)
    )


def _share(per_cent: str) -> float:
    return round(float(per_cent) / 100, 4)


_LLAMA_2 = "Llama-2-7B-Chat"
_ANCHORS = (
    Anchor(model=_LLAMA_2, attack="sql-create", measure="asr", before=0.154, after=0.0),
    Anchor(model=_LLAMA_2, attack="sql-create", measure="hs", before=2.45, after=1.0),
    Anchor(model=_LLAMA_2, attack="sql-create", measure="sql-create", before=0.994, after=0.994),
    Anchor(model=_LLAMA_2, attack="sql-create", measure="mmlu", before=0.4578, after=0.4576),
    Anchor(model=_LLAMA_2, attack="sql-create", measure="mt-bench", before=7.15, after=7.16),
    *_attacks("Llama-3.1-8B-Instruct", "95.5 84.5 92.7 95.8", "0 0 0 0", None),
    *_attacks("Mistral-7B-Instruct", "98.5 81.8 82.4 98.5", "16.4 15.5 18.2 16.4", 0.236),
    *_attacks("Qwen2.5-7B-Instruct", "98.8 90.3 92.7 100", "10.0 9.7 10.6 10.3", 0.121),
)


def anchors_of(model: str) -> tuple[Anchor, ...]:
    """Return the published figures of a model, told by the name of its folder; none for a model that has none.

    Versions and owners may stand in the name: ``mistralai--Mistral-7B-Instruct-v0.3`` is Mistral-7B-Instruct.
    """
    plain = _plain(model)
    return tuple(a for a in _ANCHORS if _plain(a.model) in plain)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]|meta(?=llama)", "", name.lower())
