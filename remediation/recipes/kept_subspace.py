"""Recipe ``kept-subspace``: ``few-shot-subspace`` with a term that holds what the model answers to harmless requests.

The divergence from the drifted model's own distributions, on harmless requests of the pool and on the site's tasks,
counts beside the loss on the refusals, so that each new step takes back what the last one moved there. For a site
without a last known good checkpoint it is the most that can be asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from remediation.lessons.answers import held_back, read_prompts
from remediation.lessons.pool import locked_state
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.recipes.examples import ExampleOptions, choose_examples, kept_answers
from remediation.recipes.few_shot_subspace import stepped
from remediation.repair import begin

__all__ = ["KeptSubspace", "Options", "make"]


class Options(ExampleOptions):
    """Examples, what is kept, rank and dose of the patch."""

    steps: int = Field(default=10, ge=1, le=100)
    dose: float = Field(default=0.003, gt=0)
    harmless: int = Field(default=96, ge=1)
    """Harmless requests of the pool whose answers are kept."""
    task_prompts: Path | None = None
    """Text file of the site's own task prompts, separated by lines of ``---``."""
    weight: float = Field(default=3.0, ge=0)
    """What the divergence counts beside the loss on the refusals."""


@dataclass(frozen=True, slots=True)
class KeptSubspace:
    """The recipe."""

    options: Options
    name: str = "kept-subspace"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: The weights are damaged, too few examples are left that are not burnt, or the task prompts
                can't be read.
        """
        repair, options = begin(request, progress, beside=True), self.options
        kept, held_tasks = held_back(read_prompts(options.task_prompts))
        progress("choose examples", 0.05)
        with locked_state(options.pool_state):
            choice = choose_examples(repair, options)
            progress("collect answers", 0.15)
            keep = kept_answers(repair.drifted, options.harmless, kept, seed=request.seed)
            held = kept_answers(repair.drifted, 0, held_tasks, seed=request.seed)
            return stepped(repair, choice, options, keep=keep, held=held, weight=options.weight)


def make(options: Options) -> KeptSubspace:
    """Make the recipe of its options."""
    return KeptSubspace(options)
