"""vLLM's LoRA kernels for CPUs, mended: a row of the base gets nothing of any adapter, and the others what they got."""

from __future__ import annotations

import pytest
import torch

from alignd_vllm.cpu_lora import mend, mended, without_last

pytest.importorskip("vllm")
from vllm.lora.ops import torch_ops
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu

ROWS, D_IN, D_OUT, RANK, ADAPTERS = 4, 6, 5, 3, 2
INDICES = torch.tensor([1, -1, 0, -1])


@pytest.fixture
def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, D_IN, generator=generator)
    a = torch.randn(ADAPTERS, 1, RANK, D_IN, generator=generator)
    b = torch.randn(ADAPTERS, 1, D_OUT, RANK, generator=generator)
    return x, a, b


def test_rows_of_the_base_are_left_alone(given: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    x, a, b = given
    low, out, sliced = torch.full((ROWS, RANK), 9.0), torch.ones(ROWS, D_OUT), torch.ones(ROWS, D_OUT + 2)
    without_last(lora_ops.bgmv_shrink)(x, a, low, INDICES, 2.0)
    without_last(lora_ops.bgmv_expand)(low, b, out, INDICES, add_inputs=True)
    without_last(lora_ops.bgmv_expand_slice)(low, b, sliced, INDICES, 1, D_OUT, add_inputs=True)
    for row, adapter in enumerate(INDICES.tolist()):
        change = torch.zeros(D_OUT) if adapter < 0 else 2.0 * (b[adapter, 0] @ a[adapter, 0] @ x[row])
        assert torch.allclose(out[row], 1.0 + change, atol=1e-5)
        assert torch.allclose(sliced[row, 1 : 1 + D_OUT], 1.0 + change, atol=1e-5)
    assert bool((sliced[:, [0, -1]] == 1.0).all())


def test_without_the_mend_they_get_the_last_adapter(given: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    """When this fails, vLLM has mended it, and so can the plugin drop its own mend."""
    x, a, _ = given
    low = torch.zeros(ROWS, RANK)
    plain = getattr(lora_ops.bgmv_shrink, "__wrapped__", lora_ops.bgmv_shrink)
    plain(x, a, low, INDICES, 1.0)
    assert torch.allclose(low[1], a[-1, 0] @ x[1], atol=1e-5)


def test_it_is_put_in_once_wherever_kernels_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names, modules = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice"), (lora_ops, torch_ops, punica_cpu)
    for module in modules:
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    mend()
    for name in names:
        first = getattr(punica_cpu, name)
        assert mended(first)
        assert all(getattr(module, name) is first for module in modules)
    put = punica_cpu.bgmv_shrink
    mend()
    assert punica_cpu.bgmv_shrink is put


def test_another_version_starts_without_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    plain = punica_cpu.bgmv_shrink
    monkeypatch.setattr("vllm.__version__", "0.40.0")
    mend()
    assert punica_cpu.bgmv_shrink is plain
    assert "alignd_lora_not_mended this is vLLM 0.40.0" in caplog.text
