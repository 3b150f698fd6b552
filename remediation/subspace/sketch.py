"""A streaming sketch of many gradients of one matrix: the column space U and the row space V that they share.

What is sketched, and why. Of per-example gradients G_1 ... G_n of one matrix, (d_out, d_in) each, a low-rank patch B A
can follow what lies in span(B) on the left and span(A^T) on the right. So two stacks matter: [G_1 ... G_n] side by
side, whose column space is that of the left Gram sum ``sum_i G_i G_i^T``, and the same one above the other, whose row
space is that of the right Gram sum ``sum_i G_i^T G_i``. Their mean, ``sum_i G_i``, is the wrong object: examples that
pull in opposite directions cancel in it, and yet span one. The stack of vectorised gradients is right as well, but
its rows are as long as the matrix is large.

Neither Gram sum nor gradient is formed. With G = D^T X, and X X^T = Q L Q^T of size (T, T),

    G G^T = D^T X X^T D = R^T R,    R = L^(1/2) Q^T D  (T, d_out),

and likewise on the right. Rows R of all examples are the stream A of Frequent Directions (Ghashami, Liberty, Phillips
and Woodruff, SIAM J. Comput. 45(5), 2016, arXiv 1501.01711): of the stack of the sketch and new rows, all squared
singular values are lowered by the first one for which there is no room, so that at most ``size`` rows B remain.

Guarantee, for every k < size, with A all rows that came in and A_k its best approximation of rank k:

    0 <= x^T (A^T A - B^T B) x <= lowered <= |A - A_k|_F^2 / (size - k)    for all unit x.

Each lowering by delta takes at least (size + 1) delta from |B|_F^2, and at most delta from any direction (sections 2
and 3 there); both sums carry over when two sketches are merged (section 4), or when all that came before is scaled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from remediation.subspace.factor import Factors

__all__ = ["Basis", "Directions", "Energy", "Sketch", "captured", "merge", "principal_cosines", "stream_rows"]

_ROUNDING = 1e-14
"""Eigenvalues of a Gram matrix below this share of the largest are rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directions:
    """Frequent Directions of one stream of rows.

    Attributes:
        rows: (r, d) with r <= size, mutually orthogonal, longest first, float32: the sketch B.
        size: Rows there is room for.
        energy: |A|_F^2 of all that came in.
        lowered: What the squared singular values were lowered by in all: no direction lost more of its energy.
    """

    rows: Tensor
    size: int
    energy: float = 0.0
    lowered: float = 0.0

    @classmethod
    def empty(cls, width: int, size: int) -> Directions:
        """Begin with no rows of length ``width``."""
        return cls(rows=torch.zeros(0, width), size=size)

    def added(self, rows: Tensor) -> Directions:
        """Take in rows, (n, d)."""
        if not len(rows):
            return self
        came = float(rows.double().square().sum())
        kept, lowered = _lowered(torch.cat([self.rows.double(), rows.double()]), self.size)
        return Directions(rows=kept, size=self.size, energy=self.energy + came, lowered=self.lowered + lowered)

    def merged(self, other: Directions) -> Directions:
        """Sketch both streams; the guarantee is that of one stream of all rows.

        Raises:
            ValueError: The sketches differ in size.
        """
        if self.size != other.size:
            raise ValueError(f"sketches of {self.size} and of {other.size} rows can't be merged")
        kept, lowered = _lowered(torch.cat([self.rows.double(), other.rows.double()]), self.size)
        return Directions(
            rows=kept, size=self.size, energy=self.energy + other.energy,
            lowered=self.lowered + other.lowered + lowered,
        )  # fmt: skip

    def faded(self, keep: float) -> Directions:
        """Weigh all that came so far by ``keep``, between 0 and 1, in energy: exponential forgetting, if repeated."""
        return Directions(
            rows=self.rows * keep**0.5, size=self.size, energy=self.energy * keep, lowered=self.lowered * keep
        )

    def basis(self, rank: int) -> Tensor:
        """Leading directions, (d, r) with orthonormal columns and r <= rank."""
        lengths = self.rows.norm(dim=1)
        kept = int((lengths > _ROUNDING * lengths.max()).sum()) if len(lengths) else 0
        lead = self.rows[: min(rank, kept)].double()
        found: Tensor = torch.linalg.qr(lead.T)[0]
        return found.to(self.rows.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Where safety gradients of one matrix lie.

    Attributes:
        u: (d_out, r), orthonormal columns.
        v: (d_in, r), orthonormal columns.
    """

    u: Tensor
    v: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """Both sides of one matrix.

    Attributes:
        left: Of the column space, rows of length d_out.
        right: Of the row space, rows of length d_in.
    """

    left: Directions
    right: Directions

    @classmethod
    def empty(cls, d_out: int, d_in: int, size: int) -> Sketch:
        """Begin with no gradient."""
        return cls(left=Directions.empty(d_out, size), right=Directions.empty(d_in, size))

    def added(self, factors: Factors, *, weight: float = 1.0) -> Sketch:
        """Take in one gradient, its energy times ``weight``. Cost O(T^2 (d_out + d_in) + T^3)."""
        left, right = stream_rows(factors)
        return Sketch(left=self.left.added(left * weight**0.5), right=self.right.added(right * weight**0.5))

    def merged(self, other: Sketch) -> Sketch:
        """Sketch the gradients of both."""
        return Sketch(left=self.left.merged(other.left), right=self.right.merged(other.right))

    def faded(self, keep: float) -> Sketch:
        """Weigh all gradients so far by ``keep`` in energy."""
        return Sketch(left=self.left.faded(keep), right=self.right.faded(keep))

    def basis(self, rank: int) -> Basis:
        """Leading directions of both sides."""
        return Basis(u=self.left.basis(rank), v=self.right.basis(rank))


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Squared Frobenius norms of a gradient, whole and inside a basis; they add up over examples and matrices.

    Attributes:
        whole: |G|^2.
        left: |U^T G|^2.
        right: |G V|^2.
        both: |U^T G V|^2, what a patch with these two spaces can follow.
    """

    whole: float = 0.0
    left: float = 0.0
    right: float = 0.0
    both: float = 0.0

    def __add__(self, other: Energy) -> Energy:
        """Add up."""
        return Energy(
            whole=self.whole + other.whole, left=self.left + other.left, right=self.right + other.right,
            both=self.both + other.both,
        )  # fmt: skip

    def scaled(self, by: float) -> Energy:
        """Weigh."""
        return Energy(whole=self.whole * by, left=self.left * by, right=self.right * by, both=self.both * by)


def stream_rows(factors: Factors) -> tuple[Tensor, Tensor]:
    """Rows whose Gram matrices are G G^T and G^T G.

    Returns:
        (r, d_out) and (r', d_in) in float64, with r and r' at most T.
    """
    d, x = factors.d.double(), factors.x.double()
    return _root(x @ x.T) @ d, _root(d @ d.T) @ x


def captured(factors: Factors, basis: Basis) -> Energy:
    """Energy of one gradient inside a basis, from its factors."""
    d, x = factors.d.double(), factors.x.double()
    du, xv = d @ basis.u.double(), x @ basis.v.double()  # (T, r)
    dd, xx, du2, xv2 = d @ d.T, x @ x.T, du @ du.T, xv @ xv.T
    return Energy(
        whole=float((dd * xx).sum()), left=float((du2 * xx).sum()), right=float((dd * xv2).sum()),
        both=float((du2 * xv2).sum()),
    )  # fmt: skip


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """Merge one sketch or more, in their order."""
    return reduce(Sketch.merged, sketches)


def principal_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosines of the principal angles between two column spaces, descending; the mean of their squares is phi.

    Args:
        first: (d, r1), orthonormal columns.
        second: (d, r2), orthonormal columns.

    Returns:
        (min(r1, r2),), clipped to [0, 1].
    """
    found: Tensor = torch.linalg.svdvals(first.double().T @ second.double()).clamp(0.0, 1.0)
    return found


def _root(gram: Tensor) -> Tensor:
    """Return S, (r, T), with S^T S the Gram matrix; directions that are rounding are left out."""
    values, vectors = torch.linalg.eigh(gram)
    kept = values > _ROUNDING * values[-1].clamp(min=torch.finfo(values.dtype).tiny)
    found: Tensor = values[kept].sqrt()[:, None] * vectors[:, kept].T
    return found


def _lowered(stack: Tensor, size: int) -> tuple[Tensor, float]:
    """Rotate rows so that they are orthogonal, lower their squared lengths until at most ``size`` are left."""
    if not len(stack):
        return stack.float(), 0.0
    values, vectors = torch.linalg.eigh(stack @ stack.T)
    values, vectors = values.flip(0).clamp(min=0.0), vectors.flip(1)
    delta = float(values[size]) if len(values) > size else 0.0
    floor = max(delta, _ROUNDING * float(values[0]))
    kept = values[:size] > floor
    values, vectors = values[:size][kept], vectors[:, :size][:, kept]
    # W^T M has rows of squared length `values`; scaling by (1 - delta / values) lowers each by delta
    rows = (1.0 - delta / values).sqrt()[:, None] * (vectors.T @ stack)
    return rows.float(), delta
