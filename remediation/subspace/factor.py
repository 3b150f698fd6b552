"""Singular values of a gradient from its factors, without ever forming the gradient.

For y = W x the gradient of a loss is G = D^T X, with D (T, d_out) the gradients at the outputs and X (T, d_in) the
inputs of T tokens: its rank is at most T. Three routes lead to the singular triples, the first two exact and in
float64, for the core of a bfloat16 model's factors is badly conditioned:

- ``qr``: thin QR of D^T and X^T, the SVD of the small core between them, and multiplying back. Always right.
- ``gram``: from D D^T and X X^T alone. With the Cholesky factor D D^T = L L^T, G G^T has the eigenvalues of
  L^T X X^T L; the vectors come by multiplying back. Three to five times as fast, but it squares the condition: a
  singular value below about 1e-5 of the largest loses its vectors, and dependent rows of D have no Cholesky factor.
- ``krylov``: where the leading few of many tokens are asked for, a block Krylov space of G Omega (Musco and Musco 2015,
  algorithm 2), with Rayleigh-Ritz in it. Its products are in float32 (float64 where the factors are), and it is as near
  as its last test asks: enough for a step, and not exact.

Which one is decided for each matrix by its outcome, at little cost: ``krylov`` is tried where it is less work, and kept
where ``|G V - U S|`` is below 1e-4 of the largest singular value; then ``gram``, kept where the vectors asked for are
orthonormal to 1e-6; else ``qr``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Factors", "Spectral", "cer", "factored_svd", "factored_svds", "leading", "overlap"]

_MORE, _PASSES = 8, 4
"""Oversampling and power iterations of the randomised SVD (Halko, Martinsson and Tropp 2011)."""
_ORTHONORMAL, _RESIDUAL = 1e-6, 1e-4
_KRYLOV_TOKENS = 160
"""From here on the eigenvalues of a T x T matrix cost more than a few passes over the factors (measured)."""
_KRYLOV_BLOCKS = 4
_TOGETHER_ELEMENTS = 2**24
"""Elements of factors that an accelerator works on at once: 128 MB in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """G = d^T x in factors.

    Attributes:
        d: (T, d_out), gradients of the loss at the module's outputs; of any floating type.
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


def factored_svd(factors: Factors, rank: int | None = None) -> Spectral:
    """Return the SVD of ``d^T x``, of rank at most min(T, d_out, d_in).

    Exact up to rounding for all triples; the leading few of many tokens have a residual of up to 1e-4 of the largest
    singular value.

    Cost O(T^2 (d_out + d_in)) against O(d_out d_in min(d_out, d_in)) for the SVD of the formed matrix.

    Args:
        rank: How many leading triples are wanted; fewer are less work. All, if not given.

    Returns:
        float32, or float64 where the inputs are.
    """
    return factored_svds({"": factors}, rank)[""]


@torch.no_grad()
def factored_svds(factors: Mapping[str, Factors], rank: int | None = None) -> dict[str, Spectral]:
    """Return ``factored_svd`` of each; on an accelerator, matrices of one shape are worked on together.

    On a processor's core a batch of 30 took three times as long as one after the other (measured).

    Returns:
        By the same names, in the same order.
    """
    found: dict[str, Spectral] = {}
    for names in _alike(factors):
        given = [factors[n] for n in names]
        if len(given) == 1:  # a product of matrices is several times as fast as one of batches of one
            found[names[0]] = _first_right(given[0].d, given[0].x, rank)
            continue
        together = _first_right(torch.stack([f.d for f in given]), torch.stack([f.x for f in given]), rank)
        for name, u, s, v in zip(names, together.u, together.s, together.v, strict=True):
            found[name] = Spectral(u=u, s=s, v=v)
    return {n: found[n] for n in factors}


def _alike(factors: Mapping[str, Factors]) -> Iterator[list[str]]:
    groups: dict[object, list[str]] = {}
    for name, one in factors.items():
        groups.setdefault((one.d.shape, one.x.shape, one.d.dtype, one.x.dtype, one.d.device), []).append(name)
    for names in groups.values():
        one = factors[names[0]]
        size = max(1, _TOGETHER_ELEMENTS // max(1, one.d.numel() + one.x.numel())) if one.d.device.type != "cpu" else 1
        yield from (names[i : i + size] for i in range(0, len(names), size))


_Found = tuple[Tensor, Tensor, Tensor, Tensor]
"""u (..., d_out, r), s (..., r), v (..., d_in, r), and (...,) whether they are right."""
_Route = Callable[[Tensor, Tensor, int], _Found]


def _first_right(d: Tensor, x: Tensor, rank: int | None) -> Spectral:
    """Go the first route that ends right for all of (..., T, d_out) and (..., T, d_in)."""
    wanted, routes = _routes(d, x, rank)
    for route in routes:
        u, s, v, good = route(d, x, wanted)
        if bool(good.all()):
            break
    dtype = torch.float64 if d.dtype == torch.float64 else torch.float32
    return Spectral(u=u.to(dtype), s=s.to(dtype), v=v.to(dtype))


def _routes(d: Tensor, x: Tensor, rank: int | None) -> tuple[int, list[_Route]]:
    """What to try in turn, and how many triples there are to find; the last one always ends right."""
    tokens, smaller = d.shape[-2], min(d.shape[-1], x.shape[-1])
    most = min(tokens, smaller)
    wanted = most if rank is None else min(rank, most)
    few = _KRYLOV_BLOCKS * (wanted + _MORE) < most / 2
    return wanted, [_krylov, _gram, _qr] if few and most > _KRYLOV_TOKENS else [_gram, _qr]


def _qr(d: Tensor, x: Tensor, rank: int) -> _Found:
    left, left_core = torch.linalg.qr(d.double().mT)  # (..., d_out, r1), (..., r1, T)
    right, right_core = torch.linalg.qr(x.double().mT)  # (..., d_in, r2), (..., r2, T)
    u, s, vh = torch.linalg.svd(left_core @ right_core.mT, full_matrices=False)
    return left @ u[..., :rank], s[..., :rank], right @ vh.mT[..., :rank], torch.tensor(True)  # noqa: FBT003


def _gram(d: Tensor, x: Tensor, rank: int) -> _Found:
    if x.shape[-1] < min(d.shape[-1], d.shape[-2]):
        v, s, u, good = _gram(x, d, rank)
        return u, s, v, good
    d, x = d.double(), x.double()
    more_tokens = d.shape[-1] <= d.shape[-2]  # than outputs: then G G^T itself is the smaller matrix
    lower: Tensor | None = None
    root = d.mT
    if not more_tokens:
        lower, root, failed = _cholesky(d)
        if failed:
            return d.mT[..., :rank], d[..., :rank, 0], x.mT[..., :rank], torch.tensor(False)  # noqa: FBT003
    energies, p = torch.linalg.eigh(root @ (x @ x.mT) @ root.mT)
    energies, p = energies.flip(-1)[..., :rank], p.flip(-1)[..., :rank]
    s = energies.clamp_min(0).sqrt()
    u = p if lower is None else d.mT @ torch.linalg.solve_triangular(lower.mT, p, upper=True)
    v = x.mT @ (root.mT @ p) / s.unsqueeze(-2)
    return u, s, v, _orthonormal(u) & _orthonormal(v)


def _cholesky(d: Tensor) -> tuple[Tensor, Tensor, bool]:
    """L with D D^T = L L^T, L^T where a token without gradient, as in a last layer, takes no part, and failure."""
    gram = d @ d.mT
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    silent = (diagonal == 0).to(d.dtype)
    diagonal += silent
    lower, info = torch.linalg.cholesky_ex(gram)
    return lower, lower.mT - torch.diag_embed(silent), bool(info.any())


def _krylov(d: Tensor, x: Tensor, rank: int) -> _Found:
    kind = torch.float64 if d.dtype == torch.float64 else torch.float32
    d, x = d.to(kind), x.to(kind)
    seeded = torch.Generator("cpu").manual_seed(0)
    block = torch.randn(x.shape[-1], rank + _MORE, generator=seeded, dtype=kind, device="cpu").to(x.device)
    blocks = [torch.linalg.qr(d.mT @ (x @ block))[0]]  # (..., d_out, rank + more) each
    while len(blocks) < _KRYLOV_BLOCKS:
        blocks.append(torch.linalg.qr(d.mT @ (x @ (x.mT @ (d @ blocks[-1]))))[0])
    basis = torch.linalg.qr(torch.cat(blocks, dim=-1))[0]
    within = ((d @ basis).mT @ x).double()  # basis^T G, (..., few, d_in)
    energies, p = torch.linalg.eigh(within @ within.mT)
    s = energies.flip(-1)[..., :rank].clamp_min(0).sqrt()
    p = p.flip(-1)[..., :rank]
    u, v = basis.double() @ p, within.mT @ p / s.unsqueeze(-2)
    missed = (d.mT @ (x @ v.to(kind))).double() - u * s.unsqueeze(-2)
    close = missed.norm(dim=-2).amax(-1) <= _RESIDUAL * s[..., 0]
    return u, s, v, close & _orthonormal(u) & _orthonormal(v)


def _orthonormal(columns: Tensor) -> Tensor:
    """Whether each of (..., d, r) is; what is not finite is not."""
    eye = torch.eye(columns.shape[-1], dtype=columns.dtype, device=columns.device)
    off: Tensor = (columns.mT @ columns - eye).abs().amax((-2, -1)) <= _ORTHONORMAL
    return off


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
