"""Recipes ``random`` and ``benign``: what a patch of that size does when it has no reason to help.

They belong into tables beside recipes, never into a ladder. In each matrix their size is that of the way back to the
last known good weights, as far as the rank goes; without a reference it is ``dose`` in units of the matrix's root mean
square gain, as the steps of the subspace recipes are measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.repair import Repair, begin
from remediation.subspace.controls import benign_control, random_control
from remediation.subspace.truncation import truncated

__all__ = ["Control", "Options", "way_back"]


class Options(BaseModel):
    """Size of the control."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, le=64)
    dose: float = Field(default=0.02, gt=0, allow_inf_nan=False)
    """Singular values where there is no reference, in units of the matrix's root mean square gain."""


@dataclass(frozen=True, slots=True)
class Control:
    """A patch that should not help."""

    options: Options
    name: Literal["random", "benign"]

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: The weights are damaged.
        """
        repair = begin(request, progress)
        progress("control", 0.3)
        like = _size(repair, self.options, seed=request.seed)
        adapter = (
            random_control(like, seed=request.seed) if self.name == "random" else benign_control(repair.drifted, like)
        )
        return repair.finish(adapter=adapter, figures={"rank": self.options.rank})


def _size(repair: Repair, options: Options, *, seed: int) -> Adapter:
    if repair.good is not None:
        return way_back(repair.drifted, repair.good, rank=options.rank, seed=seed)
    return {n: _flat(m.weight.detach(), options.rank, options.dose) for n, m in repair.drifted.linears().items()}


@torch.no_grad()
def way_back(drifted: ChatModel, good: ChatModel, *, rank: int, seed: int) -> Adapter:
    """Return the best approximation of rank ``rank`` to W_good - W, for each linear module.

    Returns:
        A (r, d_in) with orthonormal rows and B (d_out, r), with r the rank or what the matrix has room for.
    """
    wanted = good.linears()
    return {n: truncated(wanted[n].weight - m.weight, rank, seed=seed) for n, m in drifted.linears().items()}


def _flat(weight: Tensor, rank: int, dose: float) -> tuple[Tensor, Tensor]:
    """A and B of equal singular values."""
    d_out, d_in = weight.shape
    r = min(rank, d_out, d_in)
    size = dose * float(weight.norm()) / min(d_out, d_in) ** 0.5
    return torch.eye(r, d_in), size * torch.eye(d_out, r)
