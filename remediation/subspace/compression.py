"""Factors of many tokens made few, where only the leading directions are wanted.

A gradient over hundreds of tokens has more factors than the matrix has rows. Its leading singular triples are found
by subspace iteration on products with the factors (Halko, Martinsson and Tropp 2011, algorithm 4.4): the gradient is
not formed here either, and a few dozen directions stand for the tokens from then on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from remediation.subspace.factor import Factors

__all__ = ["compressed", "joined"]

_MORE, _PASSES = 16, 2


@torch.no_grad()
def compressed(factors: Factors, rank: int, *, seed: int) -> Factors:
    """Return factors of at most ``rank`` plus 16 tokens whose product has nearly the same leading ``rank`` triples.

    Few tokens are left as they are.
    """
    wide = rank + _MORE
    if len(factors.d) <= wide:
        return factors
    d, x = factors.d.float(), factors.x.float()
    drawn = torch.Generator("cpu").manual_seed(seed)
    right = torch.randn(x.shape[1], wide, generator=drawn, device="cpu").to(x.device)
    for _ in range(_PASSES):
        left = _orthonormal(d.T @ (x @ right))  # (d_out, wide)
        right = _orthonormal(x.T @ (d @ left))  # (d_in, wide)
    return Factors(d=(d.T @ (x @ right)).T, x=right.T)


def joined(first: Factors, second: Factors) -> Factors:
    """Factors of the sum of two gradients."""
    return Factors(d=torch.cat([first.d, second.d]), x=torch.cat([first.x, second.x]))


def _orthonormal(columns: Tensor) -> Tensor:
    found: Tensor = torch.linalg.qr(columns)[0]
    return found
