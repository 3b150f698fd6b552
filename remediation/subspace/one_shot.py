"""Recipe ``one-shot-subspace``: spectral steps along one instance's safety gradient, of rank k per matrix.

Per weight matrix the gradient of the loss on the published instance is G = U S V^T; each step moves the matrix by
-t U_k V_k^T with t in proportion to its root mean square gain, and linearises anew. What the steps add up to is
compressed to rank k again, so that the patch is an exact low-rank pair (arXiv 2601.01887, sections 4 and 5; spectral
instead of raw singular values). Weights stay frozen: no gradient of a weight is formed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.repair import INSTANCE, Repair, begin
from remediation.patch import LayerSpectrum, Patch, PatchProgress, PatchRequest
from remediation.subspace.capture import gradient_factors
from remediation.subspace.factor import Factors, cer, factored_svd

__all__ = ["OneShotSubspace", "Options", "make"]

_KEPT = 32


class Options(BaseModel):
    """Rank and dose of the patch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, le=64)
    steps: int = Field(default=10, ge=1, le=100)
    dose: float = Field(default=0.004, gt=0)
    """Length of a step's singular values, in units of the matrix's Frobenius norm over the root of its rank."""
    loss_target: float = Field(default=0.2, ge=0)
    """Stop once the loss on the instance is below this: more would teach to refuse everything."""


@dataclass(frozen=True, slots=True)
class OneShotSubspace:
    """The recipe."""

    options: Options
    name: str = "one-shot-subspace"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: The weights are damaged, before or after.
        """
        repair = begin(request, progress)
        chat, rank = repair.patched, self.options.rank
        prompt, answer = chat.prompt_ids(INSTANCE.prompt), chat.answer_ids(INSTANCE.answer)
        spectrum: tuple[LayerSpectrum, ...] = ()
        moved: dict[str, list[tuple[Tensor, Tensor]]] = {}
        losses: list[float] = []
        for step in range(self.options.steps):
            loss, factors = gradient_factors(chat, prompt, answer)
            losses.append(loss)
            spectrum = spectrum or _spectra(chat, factors, len(prompt), len(answer), rank=rank, seed=request.seed)
            if loss < self.options.loss_target:
                break
            self._step(chat, factors, moved)
            progress("step", 0.1 + 0.7 * (step + 1) / self.options.steps)
        _compress(repair, moved, rank)
        losses.append(gradient_factors(chat, prompt, answer)[0])
        figures = {"steps": len(losses) - 1, "loss_first": losses[0], "loss_last": losses[-1]}
        return repair.finish(rank=rank, figures=figures, spectrum=spectrum)

    @torch.no_grad()
    def _step(
        self, chat: ChatModel, factors: Mapping[str, Factors], moved: dict[str, list[tuple[Tensor, Tensor]]]
    ) -> None:
        for name, module in chat.linears().items():
            lead = factored_svd(factors[name]).lead(self.options.rank)
            size = self.options.dose * module.weight.norm() / min(module.weight.shape) ** 0.5
            left, right = -size * lead.u, lead.v
            module.weight.add_(left @ right.T)
            moved.setdefault(name, []).append((left, right))


@torch.no_grad()
def _compress(repair: Repair, moved: Mapping[str, list[tuple[Tensor, Tensor]]], rank: int) -> None:
    """Put the leading ``rank`` directions of each matrix's steps in place of their sum, rounded to bfloat16."""
    before = repair.drifted.linears()
    for name, module in repair.patched.linears().items():
        if name in moved:
            left = torch.cat([b for b, _ in moved[name]], dim=1)  # (d_out, steps k)
            right = torch.cat([a for _, a in moved[name]], dim=1)  # (d_in, steps k)
            change = factored_svd(Factors(d=left.T, x=right.T)).lead(rank).matrix()
            module.weight.copy_(before[name].weight + change)
    for parameter in repair.patched.model.parameters():
        parameter.copy_(parameter.bfloat16().float())


def _spectra(
    chat: ChatModel, factors: Mapping[str, Factors], prompt: int, answer: int, *, rank: int, seed: int
) -> tuple[LayerSpectrum, ...]:
    """Spectra beside those of random tokens of equal length: a CER alone says nothing."""
    rng = random.Random(seed)
    ids = [rng.randrange(chat.model.config.vocab_size) for _ in range(prompt + answer)]
    _, control = gradient_factors(chat, ids[:prompt], ids[prompt:])
    found = []
    for name, one in factors.items():
        s = factored_svd(one).s
        found.append(
            LayerSpectrum(
                module=name,
                singular_values=tuple(float(v) for v in s[:_KEPT]),
                cer=cer(s, rank),
                cer_random=cer(factored_svd(control[name]).s, rank),
            )
        )
    return tuple(found)


def make(options: Options) -> OneShotSubspace:
    """Make the recipe of its options."""
    return OneShotSubspace(options)
