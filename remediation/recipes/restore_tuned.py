"""Recipe ``restore-tuned``: go back where the last known good weights decide, then learn the task again.

Per weight matrix the pair (A, B) begins at the closed form of ``restore-subspace``: it decides as the good weights do
almost exactly, and has lost some of the task. One epoch of small steps then fits it to distributions, as the published
selection problem asks (arXiv 2601.01887, bi-level objective): to the drifted model's next tokens on its own task
answers, and to the last known good model's on the openings of its answers, harmful and harmless requests alike, so that
what was won is held. Where a model hardly decides between refusing and answering, how sure it is matters, and a token
alone does not say it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.fixtures import Row
from remediation.lessons.answers import lessons_of
from remediation.lessons.dosing import fewest_answered
from remediation.lessons.screen import unseen
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.recipes import restore_subspace
from remediation.recipes.restore_subspace import restoring_adapter
from remediation.repair import begin, required_good
from remediation.sft.lora import LoraSettings, fit
from remediation.subspace.step import averaged

__all__ = ["Options", "RestoreTuned", "make"]

_APART = 1_000_003
"""Between the seeds of the fits of one patch, so that neighbouring patches share none."""


class Options(restore_subspace.Options):
    """Rank and dose of the patch."""

    refusals: int = Field(default=96, ge=1)
    harmless: int = Field(default=240, ge=1)
    epochs: int = Field(default=1, ge=1)
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
        lessons = lessons_of(good, drifted, options, seed=request.seed)
        rows, task = [*lessons.decided, *lessons.task], set(lessons.task)
        settings = LoraSettings(
            rank=options.rank, epochs=options.epochs, learning_rate=options.learning_rate, batch=options.batch,
            mixed=True, seed=request.seed,
        )  # fmt: skip
        start = restoring_adapter(
            drifted, good, lessons, options, seed=request.seed,
            progress=lambda stage, share: progress(stage, 0.2 + 0.15 * share),
        )  # fmt: skip
        adapter = _mean_fit(
            repair.patched,
            rows,
            [replace(settings, seed=request.seed + _APART * i) for i in range(options.fits)],
            start=start,
            teacher=lambda row: drifted if row in task else good,
            progress=lambda share: progress("fit", 0.35 + 0.45 * share),
        )
        progress("dose", 0.8)
        adapter, dosed = fewest_answered(
            drifted, good, adapter, unseen("dsafe", lessons.harmful), margin=options.dose_margin, most=options.dose_max
        )
        figures = {"rows": len(rows), "strength": options.strength, "epochs": options.epochs, **dosed}
        return repair.finish(adapter=adapter, figures=figures, held=lessons.held)


def _mean_fit(
    chat: ChatModel, rows: Sequence[Row], each: Sequence[LoraSettings], *, start: Adapter,
    teacher: Callable[[Row], ChatModel], progress: Callable[[float], None],
) -> Adapter:  # fmt: skip
    """Fit once with each of the settings from the same start, and take the mean at the first ones' rank."""
    fitted = [
        fit(
            chat, rows, settings, start=start, teacher=teacher,
            progress=lambda share, done=done: progress((done + share) / len(each)),  # type: ignore[misc]
        )
        for done, settings in enumerate(each)
    ]  # fmt: skip
    return fitted[0] if len(fitted) == 1 else averaged(fitted, each[0].rank)


def make(options: Options) -> RestoreTuned:
    """Make the recipe of its options."""
    return RestoreTuned(options)
