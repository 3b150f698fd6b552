"""The closed form of one matrix against what it claims to minimise."""

from __future__ import annotations

import pytest
import torch

from remediation.recipes.restore_subspace import restoring_pair


def restoring_change(towards: torch.Tensor, here: torch.Tensor, there: torch.Tensor, **dose: float) -> torch.Tensor:
    a, b = restoring_pair(towards, here, there, **dose)  # type: ignore[arg-type]
    assert torch.allclose(a @ a.T, torch.eye(len(a), dtype=a.dtype), atol=1e-5)
    return b @ a


def moments(seed: int, tokens: int, width: int) -> torch.Tensor:
    x = torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.T @ x / tokens


def loss(change: torch.Tensor, towards: torch.Tensor, here: torch.Tensor, there: torch.Tensor, s: float) -> float:
    left = towards - change
    return float((left @ here * left).sum() + (change @ there * change).sum() / s)


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_no_small_step_away_is_better(strength: float) -> None:
    towards = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, there = moments(1, 40, 9), moments(2, 40, 9)
    best = restoring_change(towards, here, there, strength=strength, ridge=1e-12, rank=6)
    at_best = loss(best, towards, here, there, strength)
    for seed in range(20):
        step = torch.randn(6, 9, generator=torch.Generator().manual_seed(seed + 10), dtype=torch.float64)
        assert loss(best + 1e-3 * step, towards, here, there, strength) > at_best


def test_inputs_that_only_the_task_has_are_left_alone() -> None:
    towards = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, there = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0])), torch.diag(torch.tensor([0.0, 0.0, 1.0, 1.0]))
    change = restoring_change(towards, here.double(), there.double(), strength=1.0, ridge=1e-9, rank=4)
    assert torch.allclose(change[:, :2], towards[:, :2], atol=1e-6)
    assert change[:, 2:].abs().max() < 1e-6


def test_the_change_has_the_rank_asked_for() -> None:
    towards = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    change = restoring_change(
        towards, moments(1, 40, 8).float(), moments(2, 40, 8).float(), strength=1.0, ridge=1e-3, rank=3
    )
    assert int(torch.linalg.matrix_rank(change, atol=1e-4)) == 3


def test_the_randomised_lead_is_as_good_as_the_exact_one_and_repeats() -> None:
    """On a matrix large enough for it, with a spectrum that falls as those of real changes do."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 96, generator=generator, dtype=torch.float64))[0] for n in (120, 96))
    towards = (u * 0.8 ** torch.arange(96)) @ v.T
    here, there = torch.eye(96, dtype=torch.float64), torch.zeros(96, 96, dtype=torch.float64)
    found = restoring_change(towards, here, there, strength=1.0, ridge=1e-12, rank=8)
    best = (u[:, :8] * 0.8 ** torch.arange(8)) @ v[:, :8].T
    assert (found - towards).norm() <= 1.0001 * (best - towards).norm()
    assert torch.equal(found, restoring_change(towards, here, there, strength=1.0, ridge=1e-12, rank=8))
