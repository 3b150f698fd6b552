"""Recipe ``few-shot-subspace``: steps along the safety gradient of a few examples in varied forms.

One question teaches to refuse the shape of that question; several requests, asked and ordered, of several categories,
teach what they have in common. They come from a private pool, so that whoever poisons a fine-tune does not know them,
and those whose refusals the model has been taught already are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from remediation.lessons.pool import write_state
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.recipes.examples import Choice, ExampleOptions, choose_examples
from remediation.repair import Repair, begin
from remediation.subspace.capture import examples_of
from remediation.subspace.descent import Goal, descend

__all__ = ["FewShotSubspace", "Options", "make", "stepped"]


class Options(ExampleOptions):
    """Examples, rank and dose of the patch."""

    steps: int = Field(default=8, ge=1, le=100)
    dose: float = Field(default=0.002, gt=0)
    """Shorter than for the one instance: these refusals cost the model less, and a step of 0.004 overshoots."""


@dataclass(frozen=True, slots=True)
class FewShotSubspace:
    """The recipe."""

    options: Options
    name: str = "few-shot-subspace"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: The weights are damaged, or too few examples are left that are not burnt.
        """
        repair = begin(request, progress)
        progress("choose examples", 0.05)
        choice = choose_examples(repair, self.options)
        return stepped(repair, choice, Goal(learn=examples_of(repair.drifted, choice.rows)), self.options)


def stepped(repair: Repair, choice: Choice, goal: Goal, options: ExampleOptions) -> Patch:
    """Step towards a goal and write the patch. From then on the examples count as used, whatever becomes of it.

    Raises:
        PatchFailed: A loss is not finite, or memory runs out.
        CheckpointError: The patch can't be written.
    """
    found = descend(
        repair.drifted, goal, options, seed=repair.request.seed,
        progress=lambda share: repair.progress("step", 0.3 + 0.5 * share),
    )  # fmt: skip
    figures = {
        "examples": len(goal.learn), "burnt": choice.burnt, "kept": len(goal.keep), "steps": found.steps,
        "loss_first": found.losses[0], "loss_last": found.losses[-1], "divergence": found.divergence,
        "dose": found.dose, "instance_loss_drifted": found.losses[0],
    }  # fmt: skip
    if options.pool_state:
        write_state(options.pool_state, choice.state)
    return repair.finish(adapter=found.adapter, figures=figures)


def make(options: Options) -> FewShotSubspace:
    """Make the recipe of its options."""
    return FewShotSubspace(options)
