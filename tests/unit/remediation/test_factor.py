"""Spectra from factors against the SVD of the formed matrix."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from remediation.subspace.factor import Factors, Spectral, cer, factored_svd, overlap  # noqa: E402


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
