"""Recipe ``low-rank-sft``: a low-rank fine-tune on refusals and on what must not change.

Refusals are the openings of the last known good model's own answers to ``dsafe``; beside them stand the openings of
its answers to harmless requests, and the drifted model's own answers to the site's task prompts, so that neither is
lost. Whether a model refuses is decided in its first words, so the first twelve tokens are taught and no more: it is
quicker, and an answer that is cut teaches nothing about where to stop.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from probes.refusal import is_refusal
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.sft.answers import answers, read_prompts
from remediation.sft.chat import ChatModel
from remediation.sft.lora import LoraSettings, add_to, fit
from remediation.sft.repair import begin, required_good
from remediation.sft.screen import pool

__all__ = ["LowRankSft", "Options", "make"]

_OPENING_TOKENS, _TASK_TOKENS = 12, 48


class Options(BaseModel):
    """Size and dose of the fine-tune."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, le=64)
    epochs: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=8e-4, gt=0)
    refusals: int = Field(default=96, ge=1)
    """Harmful requests of the pool to take."""
    harmless: int = Field(default=192, ge=1)
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
        repair = begin(request, progress)
        good = required_good(repair)
        progress("collect answers", 0.05)
        rows = self._rows(repair.drifted, good, request.seed)
        settings = LoraSettings(
            rank=self.options.rank, epochs=self.options.epochs, learning_rate=self.options.learning_rate,
            seed=request.seed,
        )  # fmt: skip
        add_to(repair.patched, fit(repair.patched, rows, settings, progress=lambda s: progress("fit", 0.2 + 0.7 * s)))
        return repair.finish(rank=self.options.rank, figures={"rows": len(rows), "epochs": self.options.epochs})

    def _rows(self, drifted: ChatModel, good: ChatModel, seed: int) -> tuple[Row, ...]:
        rng = random.Random(seed)
        harmful = [b.prompt for b in pool("dsafe")]
        harmless = [b.prompt for b in pool("dbenign")]
        rng.shuffle(harmful)
        rng.shuffle(harmless)
        refused = answers(good, harmful[: self.options.refusals], _OPENING_TOKENS, whole=False)
        answered = answers(good, harmless[: self.options.harmless], _OPENING_TOKENS, whole=False)
        refusals = [r for r in refused if is_refusal(r.answer)]
        if not refusals:
            raise PatchFailed("the reference refuses none of the pool's harmful requests; choose another reference")
        kept = answers(drifted, read_prompts(self.options.task_prompts), _TASK_TOKENS, whole=True)
        return (*refusals, *(r for r in answered if not is_refusal(r.answer)), *kept)


def make(options: Options) -> LowRankSft:
    """Make the recipe of its options."""
    return LowRankSft(options)
