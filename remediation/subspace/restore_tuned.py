"""Recipe ``restore-tuned``: begin where ``restore-subspace`` ends, and fit what is left inside the same rank.

The closed form looks at each matrix by itself; a short fit of the pair (A, B) then looks at what the model says. Its
loss is the distance in distribution that the published selection problem speaks of (arXiv 2601.01887, bi-level
objective): to the last known good model's next-token distribution on the openings of its answers, harmful and harmless
requests alike, and to the drifted model's own answers on the site's task.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.sft.lora import LoraSettings, add_to, fit
from remediation.sft.repair import begin, required_good
from remediation.subspace import restore

__all__ = ["Options", "RestoreTuned", "make"]


class Options(restore.Options):
    """Rank and dose of the patch, and of the fit that follows it."""

    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=6e-4, gt=0)


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
        good = required_good(repair)
        progress("collect answers", 0.05)
        lessons = restore.lessons_for(options, good, repair.drifted, seed=request.seed)
        start = restore.restoring_adapter(
            repair.drifted, good, lessons, options, seed=request.seed,
            progress=lambda stage, share: progress(stage, 0.2 + 0.2 * share),
        )  # fmt: skip
        settings = LoraSettings(
            rank=options.rank, epochs=options.epochs, learning_rate=options.learning_rate, seed=request.seed
        )
        rows = [*lessons.decided, *lessons.task]
        task = set(lessons.task)
        adapter = fit(
            repair.patched, rows, settings, start=start, progress=lambda s: progress("fit", 0.4 + 0.5 * s),
            teacher=lambda row: repair.drifted if row in task else good,
        )  # fmt: skip
        add_to(repair.patched, adapter)
        figures = {"rows": len(rows), "strength": options.strength, "epochs": options.epochs}
        return repair.finish(rank=options.rank, figures=figures)


def make(options: Options) -> RestoreTuned:
    """Make the recipe of its options."""
    return RestoreTuned(options)
