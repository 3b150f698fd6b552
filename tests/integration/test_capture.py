"""Factors against what autograd says of the formed gradient, for every architecture and every way to keep weights."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.modules import Targets, matrices
from remediation.errors import PatchFailed
from remediation.subspace import capture as capture_module
from remediation.subspace.applied import applied
from remediation.subspace.capture import Example, capture, losses
from remediation.subspace.factor import factored_svds
from tests.architectures import ARCHITECTURES, tiny_model

EXAMPLES = [Example([3, 4, 5, 6, 7, 8, 9], [10, 11, 12]), Example([3, 20, 21], [22, 23, 24, 25, 0])]


class Tokenizer:
    """As much of one as padding needs."""

    pad_token_id = 0
    eos_token_id = 0


def chat_of(model: Any) -> ChatModel:  # noqa: ANN401 - of any class
    return ChatModel(model, Tokenizer())


def gradients(model: Any, examples: list[Example], weights: list[float]) -> tuple[list[float], dict[str, Tensor]]:  # noqa: ANN401
    """Losses and gradients of weights as autograd forms them, each example alone and unpadded."""
    model.zero_grad()
    said = []
    for one, weight in zip(examples, weights, strict=True):
        ids = torch.tensor([[*one.prompt, *one.answer]])
        logits = model(input_ids=ids).logits[0, len(one.prompt) - 1 : -1]
        loss = nn.functional.cross_entropy(logits, ids[0, len(one.prompt) :])
        (weight * loss).backward()  # type: ignore[no-untyped-call]
        said.append(loss.item())
    found = {}
    for name, one in matrices(model).items():
        grad = getattr(one.module, one.parameter).grad
        own = grad if one.expert is None else grad[one.expert]
        found[name] = own.T if one.transposed else own
    model.zero_grad()
    return said, found


def agree(factors: dict[str, Any], expected: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    scale = max(float(g.norm()) for g in expected.values())
    for name, gradient in expected.items():
        formed = factors[name].d.T @ factors[name].x if name in factors else torch.zeros_like(gradient)
        assert float((formed - gradient).norm()) <= tolerance * max(float(gradient.norm()), 1e-3 * scale), name


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_factors_multiply_to_autograds_gradient(name: str) -> None:
    model = tiny_model(name)
    expected_losses, expected = gradients(model, EXAMPLES, [0.5, 0.5])
    found = capture(chat_of(model), EXAMPLES)
    assert found.losses == pytest.approx(expected_losses, rel=1e-4)
    assert found.loss == pytest.approx(sum(expected_losses) / 2, rel=1e-4)
    agree(found.factors, expected)
    assert all(p.requires_grad for p in model.parameters()), "as before"
    for matrix, spectral in factored_svds(found.factors).items():
        formed = found.factors[matrix].d.double().T @ found.factors[matrix].x.double()
        s = torch.linalg.svdvals(formed)
        assert float((spectral.s.double() - s[: len(spectral.s)]).abs().max()) <= 1e-5 * float(s[0]), matrix
        assert float((spectral.matrix().double() - formed).norm()) <= 1e-5 * float(formed.norm()), matrix


@pytest.mark.parametrize("name", ["llama-gqa", "gemma2", "qwen3-moe"])
def test_one_pass_knows_each_example_and_any_weights(name: str) -> None:
    model = tiny_model(name)
    found = capture(chat_of(model), EXAMPLES, weights=[1.0, -0.3])
    agree(found.factors, gradients(model, EXAMPLES, [1.0, -0.3])[1])
    for i, one in enumerate(EXAMPLES):
        agree(found.of(i), gradients(model, [one], [1.0])[1])


@pytest.mark.parametrize("name", ["llama-gqa", "gemma3", "phi3", "mixtral"])
def test_layer_by_layer_finds_the_same(name: str) -> None:
    model = tiny_model(name)
    plain, layered = (capture(chat_of(model), EXAMPLES, layerwise=on) for on in (False, True))
    assert layered.losses == pytest.approx(plain.losses)
    for matrix, one in plain.factors.items():
        assert torch.allclose(layered.factors[matrix].d, one.d, atol=1e-6)
        assert torch.allclose(layered.factors[matrix].x, one.x, atol=1e-6)
    assert not any(m.training for m in model.modules())
    assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


def test_out_of_memory_goes_layer_by_layer_and_then_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = chat_of(tiny_model("llama-gqa"))
    done = capture_module._captured
    tried: list[bool] = []

    def small(*given: Any, layerwise: bool) -> Any:  # noqa: ANN401
        tried.append(layerwise)
        if not layerwise:
            raise torch.OutOfMemoryError
        return done(*given, layerwise=layerwise)

    monkeypatch.setattr(capture_module, "_captured", small)
    assert capture(chat, EXAMPLES).factors
    assert tried == [False, True]

    def none(*_: Any, layerwise: bool) -> Any:  # noqa: ANN401
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(capture_module, "_captured", none)
    with pytest.raises(PatchFailed, match=r"18 tokens.*14 matrices.*fewer modules"):
        capture(chat, EXAMPLES)


def test_what_the_first_attempt_made_is_gone_when_the_second_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[object]] = []

    class Watched(capture_module._Taken):
        def __init__(self, *given: Tensor) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))

    def loss(_: int, logits: Tensor) -> Tensor:
        gc.collect()
        if len(made) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert made[0]() is None
        return logits.square().mean()

    monkeypatch.setattr(capture_module, "_Taken", Watched)
    assert capture(chat_of(tiny_model("llama-gqa")), EXAMPLES, loss=loss).factors
    gc.collect()
    assert [one() for one in made] == [None, None]


def test_another_loss_and_fewer_targets() -> None:
    model = tiny_model("llama-gqa")
    targets = Targets(pattern=r"layers\.1\.mlp\.up_proj")
    found = capture(chat_of(model), EXAMPLES, targets=targets, loss=lambda i, logits: (i + 1) * logits.square().mean())
    assert set(found.factors) == {"model.layers.1.mlp.up_proj"}
    assert found.losses != pytest.approx(capture(chat_of(model), EXAMPLES).losses)
    assert losses(chat_of(model), EXAMPLES) == pytest.approx(capture(chat_of(model), EXAMPLES).losses, rel=1e-5)


@pytest.mark.parametrize("name", ["llama-mha", "phi3", "mixtral", "gpt-oss"])
def test_a_change_acts_as_if_it_were_in_the_weights(name: str) -> None:
    model, chat = tiny_model(name), chat_of(tiny_model(name))
    torch.manual_seed(0)
    adapter = {n: (torch.randn(2, m.shape[1]), 0.1 * torch.randn(m.shape[0], 2)) for n, m in matrices(model).items()}
    with torch.no_grad():
        for matrix, one in matrices(model).items():
            change = 0.5 * adapter[matrix][1] @ adapter[matrix][0]
            weight = getattr(one.module, one.parameter)
            (weight if one.expert is None else weight[one.expert]).add_(change.T if one.transposed else change)
    untouched = losses(chat, EXAMPLES)
    expected = capture(chat_of(model), EXAMPLES)
    with applied(chat, adapter, 0.5):
        found = capture(chat, EXAMPLES)
    assert found.losses == pytest.approx(expected.losses, rel=1e-4)
    for matrix, factors in expected.factors.items():
        formed = factors.d.T @ factors.x
        moved = found.factors[matrix]
        assert torch.allclose(moved.d.T @ moved.x, formed, atol=1e-3 * float(formed.norm()))
    assert losses(chat, EXAMPLES) == untouched


class Int8Linear(nn.Module):
    """A linear layer with weights in eight bits, as libraries make them: no parameter, no nn.Linear."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.kept = nn.Buffer((linear.weight.detach() / scale).round().to(torch.int8))
        self.scale = nn.Buffer(scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.kept.to(x.dtype) * self.scale.to(x.dtype), self.bias)


def test_quantised_weights_give_the_gradient_of_what_they_stand_for() -> None:
    model, quantised = tiny_model("qwen2"), tiny_model("qwen2")
    for name, one in matrices(quantised).items():
        replaced = Int8Linear(one.module)  # type: ignore[arg-type]
        parent, _, last = name.rpartition(".")
        setattr(quantised.get_submodule(parent), last, replaced)
        with torch.no_grad():
            model.get_submodule(name).weight.copy_(replaced.kept * replaced.scale)
    for name, one in matrices(quantised).items():
        assert torch.allclose(one.dense(), model.get_submodule(name).weight, atol=1e-6)
        assert one.gain() == pytest.approx(matrices(model)[name].gain(), rel=1e-5)
    agree(capture(chat_of(quantised), EXAMPLES).factors, gradients(model, EXAMPLES, [0.5, 0.5])[1])


def test_bfloat16_weights_give_bfloat16_factors_near_the_full_ones() -> None:
    model = tiny_model("llama-gqa")
    expected = gradients(model, EXAMPLES, [0.5, 0.5])[1]
    found = capture(chat_of(model.bfloat16()), EXAMPLES)
    assert all(f.d.dtype == f.x.dtype == torch.bfloat16 for f in found.factors.values())
    agree({n: type(f)(d=f.d.float(), x=f.x.float()) for n, f in found.factors.items()}, expected, tolerance=0.2)


@pytest.mark.parametrize("name", ["llama-gqa", "qwen3-moe"])
def test_weights_on_disk_are_there_one_layer_at_a_time(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    model.save_pretrained(str(tmp_path / "model"))
    expected = capture(chat_of(model), EXAMPLES)
    offloaded = load_model(tmp_path / "model", tmp_path / "off")
    layers = offloaded.get_submodule("model.layers")
    assert all(p.is_meta for p in layers.parameters())
    present: list[int] = []

    def count(*_: Any) -> None:  # noqa: ANN401
        present.append(sum(any(not p.is_meta for p in layer.parameters()) for layer in layers))

    for layer in layers:
        layer.register_forward_hook(count)
    found = capture(chat_of(offloaded), EXAMPLES, layerwise=True)
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    for matrix, one in expected.factors.items():
        assert torch.allclose(found.factors[matrix].d.T @ found.factors[matrix].x, one.d.T @ one.x, atol=1e-5)
    assert max(present) <= 1
    assert all(p.is_meta for p in layers.parameters())
    assert all(m.gain() == pytest.approx(matrices(model)[n].gain()) for n, m in matrices(offloaded).items())


def load_model(folder: Path, offload: Path) -> Any:  # noqa: ANN401 - of any class
    """As ``load`` does it, without a tokenizer."""
    from transformers import AutoModelForCausalLM

    from remediation.checkpoints.chat import _on_disk

    kind: Any = AutoModelForCausalLM
    placed = {"device_map": _on_disk(folder), "offload_folder": str(offload)}
    return kind.from_pretrained(str(folder), dtype=torch.float32, **placed).eval()


def test_what_can_not_be_captured_says_so() -> None:
    chat = chat_of(tiny_model("llama-gqa"))
    with pytest.raises(PatchFailed, match="example 1 has an empty answer"):
        capture(chat, [EXAMPLES[0], Example([1], [])])
    with pytest.raises(PatchFailed, match="no example"):
        capture(chat, [])
    with pytest.raises(PatchFailed, match="matches 'nowhere'"):
        capture(chat, EXAMPLES, targets=Targets(pattern="nowhere"))
    with pytest.raises(PatchFailed, match="no regular expression"):
        capture(chat, EXAMPLES, targets=Targets(pattern="("))
    with pytest.raises(PatchFailed, match="made for another model"), applied(chat, {"x": (torch.zeros(1, 2),) * 2}):
        pass
    with torch.no_grad():
        chat.model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(PatchFailed, match="loss of example 0 is nan"):
        capture(chat, EXAMPLES)
    with pytest.raises(PatchFailed, match="no output head"):
        _ = chat_of(chat.model.model).body


def test_load_names_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PatchFailed, match="holds an adapter"):
        load(tmp_path)
