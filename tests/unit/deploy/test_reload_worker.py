"""Layers that share their weights are packed again after a reload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from deploy.vllm.reload_worker import ReloadWorker


class Parameter:
    def __init__(self, value: int, size: int = 4) -> None:
        self.value, self.size = value, size

    def numel(self) -> int:
        return self.size


@dataclass
class Layer:
    weight: Parameter
    packs: bool = True
    cpu_linear: int = field(init=False)

    def __post_init__(self) -> None:
        self.quant_method = self
        if self.packs:
            self.process_weights_after_loading(self)

    def process_weights_after_loading(self, layer: Layer) -> None:
        layer.cpu_linear = layer.weight.value

    def parameters(self, *, recurse: bool) -> Iterator[Parameter]:
        assert not recurse
        yield self.weight


class Worker(ReloadWorker):
    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.model_runner = SimpleNamespace(get_model=lambda: SimpleNamespace(modules=lambda: layers))
        model = SimpleNamespace(model="/a", dtype="torch.bfloat16", quantization=None)
        self.vllm_config: Any = SimpleNamespace(model_config=model, speculative_config=None)

    def reload_weights(self, *, weights_path: str) -> None:
        """As vLLM 0.32: what is in the checkpoint is packed anew, and a tied head is in none."""
        loaded = int(weights_path)
        for layer in self.layers[:-1]:
            layer.weight.value = loaded
            if layer.packs:
                layer.process_weights_after_loading(layer)


def test_a_tied_head_computes_with_the_new_weights() -> None:
    embedding, linear = Layer(Parameter(1)), Layer(Parameter(1, size=0))
    head = Layer(embedding.weight)
    worker = Worker([embedding, linear, linear, head])
    worker.reload_weights(weights_path="2")
    assert (head.weight.value, head.cpu_linear) == (2, 1), "the fault"
    assert worker.alignd_reload("3") == {"shared": 2, "packed": 2}
    assert [layer.cpu_linear for layer in (embedding, linear, head)] == [3, 3, 3]


def test_nothing_is_packed_on_gpus() -> None:
    embedding = Layer(Parameter(1), packs=False)
    assert Worker([embedding, Layer(embedding.weight, packs=False)]).alignd_reload("2") == {"shared": 2, "packed": 0}


def test_it_says_what_it_computes_with() -> None:
    assert Worker([]).alignd_describe() == {
        "model": "/a", "dtype": "bfloat16", "quantization": "", "speculative": False,
    }  # fmt: skip
