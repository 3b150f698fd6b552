"""Recipe ``one-shot-projected``: the published one-shot fine-tune, cut to rank k per matrix.

AdamW's steps add up to a change of full rank; the published patch keeps its leading singular directions only (arXiv
2601.01887, section 5). The two are different patches, so both are here. What the fine-tune did to embeddings and norms
is left out: no adapter holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from remediation.checkpoints.output import require_finite
from remediation.errors import PatchFailed
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.recipes import one_shot_sft
from remediation.recipes.one_shot_sft import published_fit
from remediation.repair import begin, instance
from remediation.subspace.applied import applied
from remediation.subspace.capture import examples_of, losses
from remediation.subspace.truncation import truncated

__all__ = ["OneShotProjected", "Options", "make"]


class Options(one_shot_sft.Options):
    """Dose of the fine-tune, and the rank that is kept."""

    rank: int = Field(default=16, ge=1, le=64)


@dataclass(frozen=True, slots=True)
class OneShotProjected:
    """The recipe."""

    options: Options
    name: str = "one-shot-projected"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: The weights are damaged, before or after.
        """
        repair = begin(request, progress)
        figures = published_fit(repair.patched, self.options, progress)
        require_finite(repair.patched, "the fine-tuned model")
        before, after = repair.drifted.linears(), repair.patched.linears()
        changes = {n: after[n].weight.detach() - before[n].weight.detach() for n in before}
        adapter = {n: truncated(c, self.options.rank, seed=request.seed) for n, c in changes.items()}
        kept = sum(float((b @ a).square().sum()) for a, b in adapter.values())
        if not kept:
            raise PatchFailed(f"{self.name}: the fine-tune moved no matrix; raise its learning rate or epochs")
        figures["energy_kept"] = kept / sum(float(c.square().sum()) for c in changes.values())
        row = instance(repair.drifted, self.options.refusal)
        with applied(repair.drifted, adapter):
            figures["loss_last"] = losses(repair.drifted, examples_of(repair.drifted, [row]))[0]
        return repair.finish(adapter=adapter, figures=figures)


def make(options: Options) -> OneShotProjected:
    """Make the recipe of its options."""
    return OneShotProjected(options)
