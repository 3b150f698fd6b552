"""Recipe ``one-shot-subspace``: steps along one instance's safety gradient, of rank k per matrix.

Per weight matrix the gradient of the loss on the published instance is G = U S V^T; each step moves the matrix by
-t U_k V_k^T with t in proportion to its root mean square gain, and linearises anew. What the steps add up to is
compressed to rank k again, so that the patch is an exact low-rank pair (arXiv 2601.01887, sections 4 and 5; spectral
instead of raw singular values). Weights stay frozen: no gradient of a weight is formed.
"""

from __future__ import annotations

from dataclasses import dataclass

from remediation.checkpoints.modules import Targets
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.recipes.evidence import evidence_of
from remediation.repair import begin, instance
from remediation.subspace.capture import examples_of
from remediation.subspace.descent import DescentOptions, Goal, descend

__all__ = ["OneShotSubspace", "Options", "make"]


class Options(DescentOptions):
    """Rank and dose of the patch."""


@dataclass(frozen=True, slots=True)
class OneShotSubspace:
    """The recipe."""

    options: Options
    name: str = "one-shot-subspace"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: The weights are damaged, or the instance's words are unknown to the model.
        """
        repair, options = begin(request, progress, beside=True), self.options
        row = instance(repair.drifted, options.refusal)
        learn = examples_of(repair.drifted, [row])
        found = descend(
            repair.drifted, Goal(learn=learn), options, seed=request.seed,
            progress=lambda share: progress("step", 0.1 + 0.6 * share),
        )  # fmt: skip
        progress("evidence", 0.75)
        shown = evidence_of(
            repair.drifted, found.first, row, good=repair.good, rank=options.rank, seed=request.seed,
            targets=Targets(pattern=options.modules),
        )  # fmt: skip
        figures = {**found.figures, **shown.figures}
        return repair.finish(adapter=found.adapter, figures=figures, spectrum=shown.spectrum)


def make(options: Options) -> OneShotSubspace:
    """Make the recipe of its options."""
    return OneShotSubspace(options)
