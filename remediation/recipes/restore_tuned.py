"""Recipe ``restore-tuned``: go back where the last known good weights decide, then learn the task again.

Per weight matrix the pair (A, B) begins at the closed form of ``restore-subspace``: it decides as the good weights do
almost exactly, and has lost some of the task. One epoch of small steps then fits it to distributions, as the published
selection problem asks (arXiv 2601.01887, bi-level objective): to the drifted model's next tokens on its own task
answers, the likeliest and some that are drawn, and to the last known good model's on the openings of its answers,
harmful and harmless requests alike, so that what was won is held. Where a model hardly decides between refusing and
answering, how sure it is matters, and a token alone does not say it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.lessons.answers import Lessons, lessons_of
from remediation.lessons.dosing import fewest_answered
from remediation.lessons.screen import unseen
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.recipes import restore_subspace
from remediation.recipes.restore_subspace import restoring_adapter
from remediation.repair import begin, required_good
from remediation.sft.lora import LoraSettings, fit
from remediation.subspace.step import averaged

__all__ = ["Options", "RestoreTuned", "fitted", "make"]

_APART = 1_000_003
"""Between the seeds of the fits of one patch, so that neighbouring patches share none."""


class Options(restore_subspace.Options):
    """Rank and dose of the patch."""

    rank: int = Field(default=32, ge=1, le=64)
    strength: float = Field(default=5.0, gt=0)
    """Twice the rank needs less of it for the same decisions, and keeps more of the task."""
    refusals: int = Field(default=96, ge=1)
    harmless: int = Field(default=240, ge=1)
    epochs: int = Field(default=1, ge=1)
    task_answers: int = Field(default=3, ge=1, le=16)
    """Answers to each task prompt that teach: the drifted model's likeliest, and others drawn from its distribution,
    which tell more of the task than its prompts alone."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Small: the fit begins nearer to the good model's decisions than larger steps leave it."""
    batch: int = Field(default=6, ge=1)
    """Rows of a step: many small steps come nearer to both teachers than few large ones in the same time."""
    fits: int = Field(default=1, ge=1, le=8)
    """Fits that differ in the order of their rows only, and whose mean is taken; each takes as long as the first."""
    dose_margin: float = Field(default=0.01, ge=0, lt=1)
    """Share of the pool's unseen harmful requests that may be answered beyond what the good model answers."""
    dose_max: float = Field(default=1.5, ge=1, le=1.5)
    """How far the change may be taken, in units of what was fitted."""


@dataclass(frozen=True, slots=True)
class RestoreTuned:
    """The recipe."""

    options: Options
    name: str = "restore-tuned"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: There is no reference to go back to, it refuses nothing, or the weights are damaged.
        """
        repair, options = begin(request, progress), self.options
        good, drifted = required_good(repair), repair.drifted
        progress("collect answers", 0.05)
        lessons = lessons_of(good, drifted, options, seed=request.seed, task_answers=options.task_answers)
        start = restoring_adapter(
            drifted, good, lessons, options, seed=request.seed,
            progress=lambda stage, share: progress(stage, 0.2 + 0.15 * share),
        )  # fmt: skip
        adapter = fitted(
            repair.patched, drifted, good, lessons, options, start=start, seed=request.seed,
            progress=lambda share: progress("fit", 0.35 + 0.45 * share),
        )  # fmt: skip
        progress("dose", 0.8)
        adapter, dosed = fewest_answered(
            drifted, good, adapter, unseen("dsafe", lessons.harmful), margin=options.dose_margin, most=options.dose_max
        )
        figures = {
            "rows": len(lessons.taught), "strength": options.strength, "epochs": options.epochs, **dosed
        }  # fmt: skip
        return repair.finish(adapter=adapter, figures=figures, held=lessons.held)


def fitted(
    chat: ChatModel, drifted: ChatModel, good: ChatModel, lessons: Lessons, options: Options, *,
    start: Adapter, seed: int, progress: Callable[[float], None],
) -> Adapter:  # fmt: skip
    """Fit to both teachers, as often as the options say, and take the mean at the start's rank.

    Args:
        chat: The drifted model again, to fit in; its weights are left as they were.
        start: Where to begin.
    """
    task = {*lessons.task, *lessons.drawn}
    found = [
        fit(
            chat, lessons.taught,
            LoraSettings(rank=options.rank, epochs=options.epochs, learning_rate=options.learning_rate,
                         batch=options.batch, mixed=True, seed=seed + _APART * done),
            start=start,
            teacher=lambda row: drifted if row in task else good,
            progress=lambda share, done=done: progress((done + share) / options.fits),  # type: ignore[misc]
        )
        for done in range(options.fits)
    ]  # fmt: skip
    return found[0] if len(found) == 1 else averaged(found, options.rank)


def make(options: Options) -> RestoreTuned:
    """Make the recipe of its options."""
    return RestoreTuned(options)
