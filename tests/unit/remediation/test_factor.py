"""Spectra from factors against the SVD of the formed matrix."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from remediation.subspace.factor import (  # noqa: E402
    Factors,
    Spectral,
    _first_right,
    _routes,
    cer,
    factored_svd,
    factored_svds,
    overlap,
)


@pytest.mark.parametrize("shape", [(12, 40, 30), (50, 40, 30), (1, 8, 8), (64, 576, 192)])
def test_factored_svd_is_the_svd_of_the_product(shape: tuple[int, int, int]) -> None:
    tokens, d_out, d_in = shape
    torch.manual_seed(tokens)
    d, x = torch.randn(tokens, d_out), torch.randn(tokens, d_in)
    formed = d.T @ x
    found = factored_svd(Factors(d=d, x=x))
    expected = torch.linalg.svd(formed.double())[1]
    rank = min(shape)
    assert torch.allclose(found.s[:rank].double() / expected[0], expected[:rank] / expected[0], atol=1e-5)
    assert (found.matrix() - formed).norm() / formed.norm() < 1e-5
    assert torch.allclose(found.u.T @ found.u, torch.eye(found.u.shape[1]), atol=1e-5)


def test_lead_is_the_best_approximation() -> None:
    torch.manual_seed(0)
    d, x = torch.randn(20, 30), torch.randn(20, 25)
    found = factored_svd(Factors(d=d, x=x))
    left = (found.lead(4).matrix() - d.T @ x).norm() ** 2
    assert left == pytest.approx(float(found.s[4:].square().sum()), rel=1e-4)


def test_cer_and_overlap_at_their_ends() -> None:
    assert cer(torch.tensor([2.0, 1.0, 1.0]), 1) == pytest.approx(4 / 6)
    assert cer(torch.zeros(3), 1) == 0.0
    eye = torch.eye(6)
    assert overlap(eye[:, :2], eye[:, :3]) == pytest.approx(1.0)
    assert overlap(eye[:, :2], eye[:, 3:5]) == 0.0
    assert Spectral(u=eye, s=torch.ones(6), v=eye).lead(2).matrix().sum() == 2.0


def conditioned(tokens: int, d_out: int, d_in: int, decades: float) -> Factors:
    """Factors whose output side falls by ``decades`` from its largest direction to its smallest."""
    torch.manual_seed(0)
    mix = torch.linalg.qr(torch.randn(tokens, tokens))[0] * torch.logspace(0, -decades, tokens)
    return Factors(d=mix @ torch.randn(tokens, d_out), x=torch.randn(tokens, d_in))


def right(found: Spectral, factors: Factors) -> None:
    formed = factors.d.double().T @ factors.x.double()
    expected = torch.linalg.svdvals(formed)
    rank = len(found.s)
    assert (found.s.double() - expected[:rank]).abs().max() / expected[0] < 1e-5
    assert torch.allclose(found.u.T @ found.u, torch.eye(rank), atol=1e-5)
    assert torch.allclose(found.v.T @ found.v, torch.eye(rank), atol=1e-5)
    left = (formed - found.matrix().double()).norm() / formed.norm()
    assert left == pytest.approx(float(expected[rank:].norm() / expected.norm()), abs=1e-5)


@pytest.mark.parametrize("decades", [0.0, 2.0, 4.0, 7.0])
@pytest.mark.parametrize("shape", [(24, 60, 50), (50, 60, 30), (50, 20, 60), (80, 60, 50)])
@pytest.mark.parametrize("rank", [4, 16, None])
def test_every_route_ends_right(shape: tuple[int, int, int], decades: float, rank: int | None) -> None:
    factors = conditioned(*shape, decades)
    right(factored_svd(factors, rank), factors)


def route(factors: Factors, rank: int | None) -> str:
    """Which route's outcome is kept."""
    wanted, routes = _routes(factors.d, factors.x, rank)
    return next(r.__name__ for r in routes if r(factors.d, factors.x, wanted)[3])


def test_the_route_follows_the_conditioning() -> None:
    assert route(conditioned(24, 60, 50, 2.0), None) == "_gram"
    assert route(conditioned(24, 60, 50, 7.0), 4) == "_gram"
    assert route(conditioned(24, 60, 50, 7.0), None) == "_qr"
    assert route(conditioned(200, 300, 260, 6.0), 4) == "_krylov"
    assert route(conditioned(200, 300, 260, 0.0), 4) == "_gram"


def test_krylov_agrees_with_the_full_decomposition() -> None:
    factors = conditioned(200, 300, 260, 6.0)
    right(factored_svd(factors, 4), factors)
    full = factored_svd(factors)
    lead = factored_svd(factors, 4)
    assert overlap(full.u[:, :4], lead.u) == pytest.approx(1.0, abs=1e-5)


def test_silent_and_repeated_tokens_do_no_harm() -> None:
    factors = conditioned(24, 60, 50, 1.0)
    silent = Factors(d=torch.cat([torch.zeros(5, 60), factors.d]), x=torch.cat([torch.randn(5, 50), factors.x]))
    right(factored_svd(silent, 8), factors)
    twice = Factors(d=factors.d.repeat(2, 1), x=factors.x.repeat(2, 1) / 2)
    right(factored_svd(twice, 8), factors)
    nothing = factored_svd(Factors(d=torch.zeros(3, 6), x=torch.randn(3, 5)))
    assert not nothing.s.any()
    assert bool(nothing.u.isfinite().all())


def test_half_precision_factors_are_worked_on_in_double() -> None:
    factors = conditioned(24, 60, 50, 1.0)
    half = Factors(d=factors.d.bfloat16(), x=factors.x.bfloat16())
    found = factored_svd(half)
    assert found.s.dtype == torch.float32
    right(found, half)


def test_batches_of_one_shape_agree_with_one_by_one() -> None:
    given = {f"m{i}": conditioned(24, 60, 50, float(i)) for i in range(3)}
    d, x = (torch.stack([getattr(f, k) for f in given.values()]) for k in ("d", "x"))
    together = _first_right(d, x, 8)
    for i, one in enumerate(factored_svds(given, 8).values()):
        assert torch.allclose(together.s[i], one.s, atol=1e-5 * float(one.s[0]))
