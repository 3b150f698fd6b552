"""Exact singular values of a gradient from its factors, without ever forming the gradient.

For y = W x the gradient of a loss is G = D^T X, with D (T, d_out) the gradients at the outputs and X (T, d_in) the
inputs of T tokens: its rank is at most T. Thin QR of D^T and X^T, the SVD of the small core between them, and
multiplying back give the exact SVD of G.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Factors", "Spectral", "cer", "factored_svd", "leading", "overlap"]

_MORE, _PASSES = 8, 4
"""Oversampling and power iterations of the randomised SVD (Halko, Martinsson and Tropp 2011)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """G = d^T x in factors.

    Attributes:
        d: (T, d_out), gradients of the loss at the module's outputs.
        x: (T, d_in), the module's inputs.
    """

    d: Tensor
    x: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectral:
    """G = u diag(s) v^T, singular values descending.

    Attributes:
        u: (d_out, r), orthonormal columns.
        s: (r,).
        v: (d_in, r), orthonormal columns.
    """

    u: Tensor
    s: Tensor
    v: Tensor

    def lead(self, rank: int) -> Spectral:
        """Keep the leading ``rank`` singular triples."""
        return Spectral(u=self.u[:, :rank], s=self.s[:rank], v=self.v[:, :rank])

    def matrix(self) -> Tensor:
        """Multiply out, (d_out, d_in)."""
        return (self.u * self.s) @ self.v.T


def factored_svd(factors: Factors) -> Spectral:
    """Return the SVD of ``d^T x``, exact up to rounding, of rank at most min(T, d_out, d_in).

    Cost O(T^2 (d_out + d_in)) against O(d_out d_in min(d_out, d_in)) for the SVD of the formed matrix. Computed in
    float64: the core of a bfloat16 model's factors is badly conditioned.
    """
    left, left_core = torch.linalg.qr(factors.d.double().T)  # (d_out, r1), (r1, T)
    right, right_core = torch.linalg.qr(factors.x.double().T)  # (d_in, r2), (r2, T)
    u, s, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    dtype = factors.x.dtype
    return Spectral(u=(left @ u).to(dtype), s=s.to(dtype), v=(right @ vh.T).to(dtype))


def leading(matrix: Tensor, rank: int, seed: int) -> Tensor:
    """Leading left singular vectors, (d_out, r); randomised where that is much less work than all of them."""
    if rank + _MORE >= min(matrix.shape) // 2:
        u: Tensor = torch.linalg.svd(matrix, full_matrices=False)[0]
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            u = torch.svd_lowrank(matrix, q=rank + _MORE, niter=_PASSES)[0]
    return u[:, :rank]


def cer(singular_values: Tensor, rank: int) -> float:
    """Cumulative energy ratio: sum of the first ``rank`` squares over the sum of all (arXiv 2601.01887, section 4).

    Any short text's gradient has a low rank, a random text's too: a CER says nothing without its control.
    """
    squares = singular_values.double().square()
    whole = float(squares.sum())
    return float(squares[:rank].sum()) / whole if whole else 0.0


def overlap(first: Tensor, second: Tensor) -> float:
    """Overlap of two column spaces, ``|U1^T U2|_F^2 / min(r1, r2)``: 0 orthogonal, 1 one inside the other.

    Args:
        first: (d, r1), orthonormal columns.
        second: (d, r2), orthonormal columns.
    """
    return float((first.T @ second).square().sum()) / min(first.shape[1], second.shape[1])
