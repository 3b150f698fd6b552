"""Angles from factors against those of the formed matrices."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from remediation.subspace.factor import Factors  # noqa: E402
from remediation.subspace.products import (  # noqa: E402
    antagonism,
    cosine,
    inner,
    inner_change,
    norm,
    norm_change,
)


def gradient(seed: int, tokens: int) -> Factors:
    torch.manual_seed(seed)
    return Factors(d=torch.randn(tokens, 9), x=torch.randn(tokens, 7) + 0.5)


def formed(factors: Factors) -> torch.Tensor:
    return factors.d.T @ factors.x


def test_products_are_those_of_the_matrices() -> None:
    f, g = gradient(0, 5), gradient(1, 20)
    a, b = torch.randn(3, 7), torch.randn(9, 3)
    assert inner(f, g) == pytest.approx(float((formed(f) * formed(g)).sum()), rel=1e-5)
    assert norm(g) == pytest.approx(float(formed(g).norm()), rel=1e-5)
    for change in ((a, b), b @ a):
        assert inner_change(f, change) == pytest.approx(float((formed(f) * (b @ a)).sum()), rel=1e-4)
        assert norm_change(change) == pytest.approx(float((b @ a).norm()), rel=1e-5)


def test_cosines_are_over_the_whole_model() -> None:
    first = {"one": gradient(0, 5), "two": gradient(1, 6), "only here": gradient(2, 3)}
    second = {"one": gradient(3, 4), "two": gradient(4, 8)}
    x = torch.cat([formed(f).flatten() for f in first.values()])
    y = torch.cat([*(formed(f).flatten() for f in second.values()), torch.zeros(9 * 7)])
    assert cosine(first, second) == pytest.approx(float(torch.cosine_similarity(x, y, dim=0)), rel=1e-5)
    assert cosine(first, first) == pytest.approx(1.0)
    first.pop("only here")  # of a change that is not known there nothing is said
    changes = {n: formed(f) for n, f in second.items()}
    assert antagonism(first, changes) == pytest.approx(cosine(first, second), rel=1e-5)
    pairs = {n: (-f.x, f.d.T) for n, f in second.items()}
    assert antagonism(first, pairs) == pytest.approx(-cosine(first, second), rel=1e-5)


def test_nothing_has_no_angle() -> None:
    silent = {"one": Factors(d=torch.zeros(2, 9), x=torch.ones(2, 7))}
    assert cosine(silent, {"one": gradient(0, 2)}) == 0.0
    assert antagonism({}, {}) == 0.0
