"""Recipe ``low-rank-sft``: a low-rank fine-tune on refusals and on what must not change.

Refusals are the openings of the last known good model's own answers to ``dsafe``; beside them stand the openings of
its answers to harmless requests, and the drifted model's own answers to the site's task prompts, so that neither is
lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from probes.refusal import is_refusal
from remediation.lessons.answers import LessonOptions, lessons_of
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.repair import begin, required_good
from remediation.sft.lora import LoraSettings, fit

__all__ = ["LowRankSft", "Options", "make"]


class Options(LessonOptions):
    """Size and dose of the fine-tune."""

    rank: int = Field(default=16, ge=1, le=64)
    epochs: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=8e-4, gt=0)
    refusals: int = Field(default=96, ge=1)
    harmless: int = Field(default=192, ge=1)


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
        lessons = lessons_of(good, repair.drifted, self.options, seed=request.seed)
        rows = [
            *(r for r in lessons.harmful if is_refusal(r.answer)),
            *lessons.harmless,
            *lessons.task,
        ]
        settings = LoraSettings(
            rank=self.options.rank, epochs=self.options.epochs, learning_rate=self.options.learning_rate,
            seed=request.seed,
        )  # fmt: skip
        adapter = fit(repair.patched, rows, settings, progress=lambda s: progress("fit", 0.2 + 0.7 * s))
        figures = {"rows": len(rows), "epochs": self.options.epochs}
        return repair.finish(adapter=adapter, figures=figures, held=lessons.held)


def make(options: Options) -> LowRankSft:
    """Make the recipe of its options."""
    return LowRankSft(options)
