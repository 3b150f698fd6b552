"""Control patches are as large as the patch, and point elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.subspace.controls import benign_control, random_control
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    return load(tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def patch(chat: ChatModel) -> Adapter:
    drawn = torch.Generator().manual_seed(3)
    return {
        n: (torch.randn(2, m.in_features, generator=drawn), torch.randn(m.out_features, 2, generator=drawn))
        for n, m in chat.linears().items()
    }


def change(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[1] @ pair[0]


def test_a_random_control_has_the_patchs_singular_values(patch: Adapter) -> None:
    control = random_control(patch, seed=1)
    assert control.keys() == patch.keys()
    for name, pair in patch.items():
        here, there = (torch.linalg.svdvals(change(p))[:2] for p in (pair, control[name]))
        assert torch.allclose(here, there, rtol=1e-4)
        cosine = (change(pair) * change(control[name])).sum() / change(pair).square().sum()
        assert abs(float(cosine)) < 0.9
    again, other = random_control(patch, seed=1), random_control(patch, seed=2)
    assert all(torch.equal(control[n][0], again[n][0]) for n in control)
    assert not any(torch.equal(control[n][0], other[n][0]) for n in control)


def test_a_benign_control_teaches_its_example_at_the_patchs_size(chat: ChatModel, patch: Adapter) -> None:
    control = benign_control(chat, patch)
    assert control.keys() == patch.keys()
    for name, pair in patch.items():
        assert float(change(control[name]).norm()) == pytest.approx(float(change(pair).norm()), rel=1e-3)
        assert len(control[name][0]) == 2
