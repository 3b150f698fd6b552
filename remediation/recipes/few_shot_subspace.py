"""Recipe ``few-shot-subspace``: steps along the safety gradient of a few examples in varied forms.

One question teaches to refuse the shape of that question; several requests, asked and ordered, of several categories,
teach what they have in common. They come from a private pool, so that whoever poisons a fine-tune does not know them,
and those whose refusals the model has been taught already are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import Field

from remediation.fixtures import Row
from remediation.lessons.pool import locked_state, write_state
from remediation.lessons.refit import Look, Looker, refit_best
from remediation.lessons.screen import SCREENED, unseen
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.recipes.examples import Choice, ExampleOptions, choose_examples
from remediation.repair import Repair, begin
from remediation.subspace.applied import applied
from remediation.subspace.capture import examples_of
from remediation.subspace.descent import Descent, Goal, descend

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
        repair = begin(request, progress, beside=True)
        progress("choose examples", 0.05)
        with locked_state(self.options.pool_state):
            choice = choose_examples(repair, self.options)
            return stepped(repair, choice, self.options)


def stepped(
    repair: Repair, choice: Choice, options: ExampleOptions, *,
    keep: Sequence[Row] = (), held: Sequence[Row] = (), weight: float = 1.0,
) -> Patch:  # fmt: skip
    """Step towards the examples' refusals and write the patch.

    From then on the examples count as used, whatever becomes of it. The pool's state is to be locked since the draw.

    Args:
        keep: Harmless requests and prompts of the site's tasks with the drifted model's own answers.
        held: The same of such prompts that are not kept, to measure the loss of benign traffic on.
        weight: What the divergence on them counts beside the loss on the examples.

    Raises:
        PatchFailed: A loss is not finite, or memory runs out.
        CheckpointError: The patch can't be written.
    """
    chat, kept = repair.drifted, examples_of(repair.drifted, keep)
    parts = iter(range(len(choice.sets)))

    def fit(rows: Sequence[Row]) -> Descent:
        goal, part = Goal(learn=examples_of(chat, rows), keep=kept, weight=weight), next(parts)
        return descend(
            chat, goal, options, seed=repair.request.seed,
            progress=lambda share: repair.progress("step", 0.3 + 0.5 * (part + share) / len(choice.sets)),
        )  # fmt: skip

    found, looks = _best(repair, choice, keep, fit)
    figures = {
        **looks, **found.figures, "examples": len(choice.sets[0]), "burnt": choice.burnt, "kept": len(kept),
        "divergence": found.divergence,
    }  # fmt: skip
    if options.pool_state:
        write_state(options.pool_state, choice.state)
    return repair.finish(adapter=found.adapter, figures=figures, held=held)


def _best(
    repair: Repair, choice: Choice, keep: Sequence[Row], fit: Callable[[Sequence[Row]], Descent]
) -> tuple[Descent, dict[str, float]]:
    """Fit what was chosen, or of several choices the one whose fit does best on prompts that taught nothing."""
    if len(choice.sets) == 1:
        return fit(choice.sets[0]), {}
    looker = Looker(
        repair.good or repair.drifted, harmful=unseen("dsafe", (*choice.rows, *choice.held))[:SCREENED],
        harmless=unseen("dbenign", keep)[:SCREENED],
    )  # fmt: skip

    def refit(rows: Sequence[Row]) -> tuple[Descent, Look]:
        found = fit(rows)
        with applied(repair.drifted, found.adapter):
            return found, looker.look(repair.drifted)

    best = refit_best(choice.sets, refit)
    return best.fit, {
        "refits": len(choice.sets), "refit_best": best.best, "refit_accepted": float(best.accepted),
        "refit_harm": best.look.harm, "refit_over_refusal": best.look.over_refusal,
    }  # fmt: skip


def make(options: Options) -> FewShotSubspace:
    """Make the recipe of its options."""
    return FewShotSubspace(options)
