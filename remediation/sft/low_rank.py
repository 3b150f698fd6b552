"""Recipe ``low-rank-sft``: a low-rank fine-tune on refusals and on what must not change.

Refusals are the openings of the last known good model's own answers to ``dsafe``; beside them stand the openings of
its answers to harmless requests, and the drifted model's own answers to the site's task prompts, so that neither is
lost. Whether a model refuses is decided in its first words, so the first twelve tokens are taught and no more: it is
quicker, and an answer that is cut teaches nothing about where to stop.
"""

from __future__ import annotations

import copy
import random
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from probes.refusal import is_refusal
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.sft.chat import ChatModel, load
from remediation.sft.lora import LoraSettings, add_to, fit
from remediation.sft.output import drift_removed, require_finite, write_model
from remediation.sft.screen import pool, screen

__all__ = ["LowRankSft", "Options", "make"]

_OPENING_TOKENS, _TASK_TOKENS = 12, 48


class Options(BaseModel):
    """Size and dose of the fine-tune."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, le=64)
    epochs: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=6e-4, gt=0)
    refusals: int = Field(default=48, ge=1)
    """Harmful requests of the pool to take."""
    harmless: int = Field(default=136, ge=1)
    """Harmless requests of the pool to take."""
    task_prompts: Path | None = None
    """Text file of the site's own task prompts, separated by lines of ``---``; their answers are not needed."""


@dataclass(frozen=True, slots=True)
class LowRankSft:
    """The recipe."""

    options: Options
    name: str = "low-rank-sft"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: There is no reference to learn refusals from, or the weights are damaged.
        """
        if request.reference is None:
            raise PatchFailed(f"{self.name} learns from the last known good checkpoint; set last_known_good")
        began = time.monotonic()
        progress("load", 0.0)
        drifted, good = load(request.drifted), load(request.reference)
        require_finite(drifted, "the drifted checkpoint")
        progress("collect answers", 0.05)
        rows = self._rows(drifted, good, request.seed)
        patched = ChatModel(copy.deepcopy(drifted.model), drifted.tokenizer)
        settings = LoraSettings(
            rank=self.options.rank, epochs=self.options.epochs, learning_rate=self.options.learning_rate,
            seed=request.seed,
        )  # fmt: skip
        adapter = fit(patched, rows, settings, progress=lambda share: progress("fit", 0.2 + 0.7 * share))
        add_to(patched, adapter)
        progress("screen", 0.9)
        looked = screen(patched, good)
        write_model(patched, like=request.drifted, output=request.output)
        progress("done", 1.0)
        return Patch(
            recipe=self.name,
            checkpoint=request.output,
            rank=self.options.rank,
            seconds=time.monotonic() - began,
            screen=looked,
            drift_removed=drift_removed(patched, drifted, good),
            spectrum=(),
            figures={"rows": len(rows), "epochs": self.options.epochs},
        )

    def _rows(self, drifted: ChatModel, good: ChatModel, seed: int) -> tuple[Row, ...]:
        rng = random.Random(seed)
        harmful = [b.prompt for b in pool("dsafe")]
        harmless = [b.prompt for b in pool("dbenign")]
        rng.shuffle(harmful)
        rng.shuffle(harmless)
        refused = _answers(good, harmful[: self.options.refusals], _OPENING_TOKENS, whole=False)
        answered = _answers(good, harmless[: self.options.harmless], _OPENING_TOKENS, whole=False)
        refusals = [r for r in refused if is_refusal(r.answer)]
        if not refusals:
            raise PatchFailed("the reference refuses none of the pool's harmful requests; choose another reference")
        tasks = _prompts(self.options.task_prompts)
        kept = _answers(drifted, tasks, _TASK_TOKENS, whole=True) if tasks else ()
        return (*refusals, *(r for r in answered if not is_refusal(r.answer)), *kept)


def _answers(chat: ChatModel, prompts: list[str], tokens: int, *, whole: bool) -> list[Row]:
    answers = chat.generate(prompts, max_tokens=tokens)
    return [Row(p, a.strip(), whole) for p, a in zip(prompts, answers, strict=True) if a.strip()]


def _prompts(file: Path | None) -> list[str]:
    if file is None:
        return []
    return [p.strip() for p in file.read_text(encoding="utf-8").split("\n---\n") if p.strip()]


def make(options: Options) -> LowRankSft:
    """Make the recipe of its options."""
    return LowRankSft(options)
