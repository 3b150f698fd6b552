"""What vLLM 0.32 leaves out of a reload on CPUs: the output head that shares its weights with the input embedding.

On CPUs a linear layer computes with a packed copy of its weights (``layer.cpu_linear``), made by its quantization
method after loading. ``reload_weights`` packs anew whatever layers were loaded. A tied head is in no checkpoint, so it
is not loaded: its parameter, shared with the embedding, is new and its packed copy is the old one, and the server says
success (``vllm/model_executor/model_loader/reload/layerwise.py``, ``finalize_layerwise_processing``: "no weights were
loaded"). Here every layer that shares a parameter is packed again.

vLLM loads the class in its workers: ``--worker-extension-cls deploy.vllm.reload_worker.ReloadWorker``. It imports
nothing of vLLM or torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["ReloadWorker"]


class ReloadWorker:
    """Methods that a worker gets, called through ``/collective_rpc``."""

    model_runner: Any

    def alignd_describe(self) -> dict[str, object]:
        """Say what the worker computes with: ``model`` (its path), ``dtype``, ``quantization``, ``speculative``."""
        config = self.vllm_config  # type: ignore[attr-defined]
        return {
            "model": str(config.model_config.model),
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "quantization": str(config.model_config.quantization or ""),
            "speculative": config.speculative_config is not None,
        }

    def alignd_reload(self, weights_path: str) -> dict[str, int]:
        """Load new weights in place, then pack shared ones again.

        Args:
            weights_path: Checkpoint folder; it becomes the model's path.

        Returns:
            How many layers share their weights with another one (``shared``), and how many of them held a packed
            copy that was made anew (``packed``).
        """
        self.reload_weights(weights_path=weights_path)  # type: ignore[attr-defined]
        return self.alignd_pack_shared()

    def alignd_pack_shared(self) -> dict[str, int]:
        """Pack the weights of layers that share them; where nothing is packed (on GPUs), only count."""
        shared = list(_sharing(self.model_runner.get_model()))
        packed = [layer for layer in shared if hasattr(layer, "cpu_linear")]
        for layer in packed:
            layer.quant_method.process_weights_after_loading(layer)
        return {"shared": len(shared), "packed": len(packed)}


def _sharing(model: Any) -> Iterator[Any]:  # noqa: ANN401 - a torch module, and torch is not imported
    owners: dict[int, list[Any]] = {}
    for layer in model.modules():
        for parameter in layer.parameters(recurse=False):
            if parameter.numel():  # packed layers keep an empty one
                owners.setdefault(id(parameter), []).append(layer)
    for layers in owners.values():
        if len(layers) > 1:
            yield from layers
