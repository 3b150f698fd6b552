"""A change of weights cut to a rank."""

from __future__ import annotations

import torch
from torch import Tensor

from remediation.subspace.factor import leading

__all__ = ["truncated"]


@torch.no_grad()
def truncated(change: Tensor, rank: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return the best approximation of a rank to a change (d_out, d_in), as nearly as the randomised SVD finds it.

    Returns:
        A (r, d_in) with orthonormal rows and B (d_out, r), with r the rank or what the matrix has room for.
    """
    lead = leading(change, rank, seed)
    u, s, vh = torch.linalg.svd(lead.T @ change, full_matrices=False)
    return vh, (lead @ u) * s
