"""Recipe ``restore-subspace``: back towards the last known good weights, only where refusals live.

Per weight matrix, with second moments H of the inputs on what the good model should decide (harmful prompts with its
refusals, harmless ones with its answers) and T on the site's own task with the drifted model's answers, the change

    dW = (W_good - W) H (H + T / s + eps I)^-1

minimises ``|(W_good - W - dW) H^1/2|^2 + |dW T^1/2|^2 / s`` up to the ridge: closed form, forward passes only. It is
cut to rank k where H has energy, by the leading left singular vectors of dW chol(H). Where the site gave no task
prompts the harmless answers take their place. A small strength s keeps the task, a large one removes more drift.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from probes.refusal import is_refusal
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.sft.answers import answers, read_prompts
from remediation.sft.chat import ChatModel
from remediation.sft.repair import begin, required_good
from remediation.sft.screen import pool
from remediation.subspace.capture import input_moments, shared_prefix

__all__ = ["Options", "RestoreSubspace", "make", "restoring_change"]

_OPENING_TOKENS, _TASK_TOKENS = 12, 48


class Options(BaseModel):
    """Rank and dose of the patch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, le=64)
    strength: float = Field(default=10.0, gt=0)
    """``s``: how much the drift weighs against the task."""
    ridge: float = Field(default=1e-3, gt=0)
    """``eps`` in units of the mean of H's diagonal."""
    prompts: int = Field(default=64, ge=1)
    """Harmful and as many harmless requests of the pools to take."""
    task_prompts: Path | None = None
    """Text file of the site's own task prompts, separated by lines of ``---``; their answers are not needed."""


@dataclass(frozen=True, slots=True)
class RestoreSubspace:
    """The recipe."""

    options: Options
    name: str = "restore-subspace"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: There is no reference to go back to, it refuses nothing, or the weights are damaged.
        """
        repair = begin(request, progress)
        good = required_good(repair)
        progress("collect answers", 0.05)
        decided, task = self._rows(good, repair.drifted, request.seed)
        progress("second moments", 0.4)
        skip = shared_prefix(good)
        here, there = (input_moments(repair.drifted, rows, skip=skip) for rows in (decided, task))
        self._restore(repair.patched, good, here, there, progress)
        return repair.finish(
            rank=self.options.rank, figures={"rows": len(decided) + len(task), "strength": self.options.strength}
        )

    @torch.no_grad()
    def _restore(
        self,
        chat: ChatModel,
        good: ChatModel,
        here: Mapping[str, Tensor],
        there: Mapping[str, Tensor],
        progress: PatchProgress,
    ) -> None:
        wanted, modules = good.linears(), chat.linears()
        for done, (name, module) in enumerate(modules.items()):
            change = restoring_change(
                wanted[name].weight - module.weight, here[name], there[name],
                strength=self.options.strength, ridge=self.options.ridge, rank=self.options.rank,
            )  # fmt: skip
            module.weight.add_(change)
            progress("solve", 0.5 + 0.4 * (done + 1) / len(modules))
        for parameter in chat.model.parameters():
            parameter.copy_(parameter.bfloat16().float())

    def _rows(self, good: ChatModel, drifted: ChatModel, seed: int) -> tuple[list[Row], list[Row]]:
        rng = random.Random(seed)
        asked: dict[str, list[str]] = {s: [b.prompt for b in pool(s)] for s in ("dsafe", "dbenign")}
        for prompts in asked.values():
            rng.shuffle(prompts)
        harmful, harmless = (
            answers(good, asked[s][: self.options.prompts], _OPENING_TOKENS, whole=False) for s in asked
        )
        refusals = [r for r in harmful if is_refusal(r.answer)]
        if not refusals:
            raise PatchFailed("the reference refuses none of the pool's harmful requests; choose another reference")
        task = answers(drifted, read_prompts(self.options.task_prompts), _TASK_TOKENS, whole=True)
        if not task:
            return refusals, harmless
        return [*refusals, *(r for r in harmless if not is_refusal(r.answer))], task


@torch.no_grad()
def restoring_change(
    towards: Tensor, here: Tensor, there: Tensor, *, strength: float, ridge: float, rank: int
) -> Tensor:
    """Solve one matrix, in float64: a model with massive activations conditions its moments badly.

    Args:
        towards: W_good - W, (d_out, d_in).
        here: Second moments of the inputs where the good weights are wanted, (d_in, d_in).
        there: Second moments of the inputs where nothing should change, (d_in, d_in).

    Returns:
        The change, (d_out, d_in), of rank at most ``rank``.
    """
    wanted, kept = here.double(), there.double()
    eye = torch.eye(len(wanted), dtype=wanted.dtype) * (ridge * float(wanted.diagonal().mean()))
    root = torch.linalg.cholesky(wanted + kept / strength + eye)
    full = torch.cholesky_solve(wanted @ towards.double().T, root).T
    lead = torch.linalg.svd(full @ torch.linalg.cholesky(wanted + eye), full_matrices=False)[0][:, :rank]
    change: Tensor = lead @ (lead.T @ full)
    return change.to(towards.dtype)


def make(options: Options) -> RestoreSubspace:
    """Make the recipe of its options."""
    return RestoreSubspace(options)
