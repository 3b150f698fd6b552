"""Recipe ``one-shot-subspace``: steps along one instance's safety gradient, of rank k per matrix.

Per weight matrix the gradient of the loss on the published instance is G = U S V^T; each step moves the matrix by
-t U_k V_k^T with t in proportion to its root mean square gain, and linearises anew. What the steps add up to is
compressed to rank k again, so that the patch is an exact low-rank pair (arXiv 2601.01887, sections 4 and 5; spectral
instead of raw singular values). Weights stay frozen: no gradient of a weight is formed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.repair import begin, instance
from remediation.patch import LayerSpectrum, Patch, PatchProgress, PatchRequest
from remediation.subspace.capture import Example, examples_of, gradient_factors
from remediation.subspace.descent import DescentOptions, Goal, descend
from remediation.subspace.factor import Factors, cer, factored_svds

__all__ = ["OneShotSubspace", "Options", "make", "spectra"]

_KEPT = 32


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
        repair, options = begin(request, progress), self.options
        learn = examples_of(repair.drifted, [instance(repair.drifted, options.refusal)])
        found = descend(
            repair.drifted, Goal(learn=learn), options, seed=request.seed,
            progress=lambda share: progress("step", 0.1 + 0.7 * share),
        )  # fmt: skip
        figures = {
            "steps": len(found.losses) - 1, "loss_first": found.losses[0], "loss_last": found.losses[-1],
            "dose": found.dose, "instance_loss_drifted": found.losses[0],
        }  # fmt: skip
        spectrum = spectra(repair.drifted, found.first, learn[0], rank=options.rank, seed=request.seed)
        return repair.finish(adapter=found.adapter, figures=figures, spectrum=spectrum)


def spectra(
    chat: ChatModel, factors: Mapping[str, Factors], like: Example, *, rank: int, seed: int
) -> tuple[LayerSpectrum, ...]:
    """Spectra beside those of random tokens of equal length: a CER alone says nothing."""
    rng = random.Random(seed)
    prompt, answer = ([rng.randrange(chat.model.config.vocab_size) for _ in part] for part in like)
    _, control = gradient_factors(chat, prompt, answer)
    there = factored_svds({n: control[n] for n in factors}, None)
    return tuple(
        LayerSpectrum(
            module=name,
            singular_values=tuple(float(v) for v in one.s[:_KEPT]),
            cer=cer(one.s, rank),
            cer_random=cer(there[name].s, rank),
        )
        for name, one in factored_svds(factors, None).items()
    )


def make(options: Options) -> OneShotSubspace:
    """Make the recipe of its options."""
    return OneShotSubspace(options)
