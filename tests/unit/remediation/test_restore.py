"""The closed form of one matrix against what it claims to minimise."""

from __future__ import annotations

import pytest
import torch

from remediation.subspace.restore import restoring_change


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
