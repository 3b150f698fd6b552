"""Inner products, norms and angles of gradients and changes, from their factors.

All are Frobenius inner products ``<A, B> = tr(A^T B)``, summed over the matrices of a model where mappings are given.
With G = D^T X, ``<G1, G2> = sum (D1 D2^T) * (X1 X2^T)`` and ``<G, B A> = sum (D B) * (X A^T)``: O(T^2 d) and O(T d r),
no matrix of the weight's size is formed.

How far two safety gradients, or a gradient and a drift, point the same way is evidence only beside the same figure for
a random and for a benign text: any two texts share much of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from remediation.subspace.factor import Factors

__all__ = ["Change", "antagonism", "cosine", "inner", "inner_change", "norm", "norm_change"]

Change = Tensor | tuple[Tensor, Tensor]
"""A change of a weight: the matrix itself, (d_out, d_in), or a pair A (r, d_in), B (d_out, r) that stands for B A."""


@torch.no_grad()
def inner(first: Factors, second: Factors) -> float:
    """``<G1, G2>`` of two gradients of the same weight, of any numbers of tokens."""
    d, x = first.d.double() @ second.d.double().T, first.x.double() @ second.x.double().T
    return float((d * x).sum())


@torch.no_grad()
def inner_change(factors: Factors, change: Change) -> float:
    """``<G, dW>``: to first order, the change dW adds this to the loss whose gradient G is."""
    if isinstance(change, Tensor):
        kind = torch.promote_types(change.dtype, torch.float32)
        return float(((factors.d.to(kind) @ change.to(kind)) * factors.x.to(kind)).double().sum())
    a, b = change
    return float(((factors.d.double() @ b.double()) * (factors.x.double() @ a.double().T)).sum())


def norm(factors: Factors) -> float:
    """``|G|_F``."""
    return math.sqrt(max(0.0, inner(factors, factors)))


@torch.no_grad()
def norm_change(change: Change) -> float:
    """``|dW|_F``."""
    if isinstance(change, Tensor):
        return float(change.double().norm())
    a, b = (part.double() for part in change)
    return math.sqrt(max(0.0, float(((a @ a.T) * (b.T @ b)).sum())))


def cosine(first: Mapping[str, Factors], second: Mapping[str, Factors]) -> float:
    """Cosine of the angle between two gradients of a model; 0 where one vanishes.

    A matrix that only one of them has counts as zero in the other: an expert that no token came to has no gradient.
    """
    return _ratio(
        sum(inner(first[n], second[n]) for n in first.keys() & second.keys()),
        math.hypot(*map(norm, first.values())),
        math.hypot(*map(norm, second.values())),
    )


def antagonism(factors: Mapping[str, Factors], changes: Mapping[str, Change]) -> float:
    """Cosine of the angle between a gradient and a change of a model, over the matrices that both have.

    For a safety loss's gradient and the drift away from the aligned weights it is positive where the drift raised that
    loss: descending goes back.
    """
    names = factors.keys() & changes.keys()
    return _ratio(
        sum(inner_change(factors[n], changes[n]) for n in names),
        math.hypot(*(norm(factors[n]) for n in names)),
        math.hypot(*(norm_change(changes[n]) for n in names)),
    )


def _ratio(product: float, first: float, second: float) -> float:
    return product / (first * second) if first and second else 0.0
