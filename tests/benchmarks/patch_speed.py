"""Speed and memory of the factors: ``python -m tests.benchmarks.patch_speed`` prints a table, and one JSON object last.

One 4096 x 4096 matrix at 64 tokens, medians of one thread's processor seconds, which others' work hardly touches: the
leading 16 singular triples from factors against ``linalg.svd``, ``svd_lowrank`` of the formed gradient, and what PEFT's
LoRA-GA does for one matrix (form the gradient, then ``svd_lowrank(q=4r, niter=4)``:
``peft.tuners.lora.layer.LoraLayer.lora_ga_init``, PEFT 0.21). ``linalg.svd`` takes minutes and runs once; ``--quick``
times it at 1024 x 1024 and scales by the cube, and says so. ``step_seconds_135m`` is what all 210 matrices of
SmolLM2-135M's shape take at 60 tokens. Memory: what the backward pass of Llama-3.1-8B's shape, with a few layers, keeps
above the forward pass, and arithmetic for the rest.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from remediation.subspace.factor import Factors, factored_svd, factored_svds

__all__ = ["RANK", "SIDE", "TOKENS", "lora_ga", "measure", "shape_8b"]

SIDE, TOKENS, RANK, _QUICK_SIDE = 4096, 64, 16, 1024
_RUNS = 7
_LAYERS_8B = 32


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Ratios of medians, and bytes.

    Returns:
        ``speedup_linalg_svd``, ``speedup_svd_lowrank``, ``speedup_lora_ga``, ``memory_above_forward_gb_8b``,
        ``factor_milliseconds``, ``step_seconds_135m``, ``linalg_svd_extrapolated``; ``table``: name, bar, measured.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = _speeds(quick=quick)
    finally:
        torch.set_num_threads(threads)
    found["memory_above_forward_gb_8b"] = memory_above_forward(layers=2) / 1e9
    bars = {
        "speedup_linalg_svd": ">= 1000", "speedup_svd_lowrank": ">= 20", "speedup_lora_ga": ">= 20",
        "memory_above_forward_gb_8b": "<= 1",
    }  # fmt: skip
    rows = [(n, bars.get(n, ""), f"{v:.4g}" if isinstance(v, float) else str(v)) for n, v in found.items()]
    return found | {"table": rows}


def _speeds(*, quick: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    decay = torch.logspace(0, -3, TOKENS)[:, None]  # as steep as a short text's: CER(16) is about 0.9
    d, x = torch.randn(TOKENS, SIDE) * decay, torch.randn(TOKENS, SIDE)
    ours = _median(lambda: factored_svd(Factors(d=d, x=x), RANK), _RUNS)
    formed = d.T @ x
    lowrank = _median(lambda: torch.svd_lowrank(formed, q=RANK + 8, niter=4), 3)
    lora_ga = _median(lambda: lora_ga(d, x), 3)
    side = _QUICK_SIDE if quick else SIDE
    full = _median(lambda: torch.linalg.svd(formed[:side, :side]), 1) * (SIDE / side) ** 3
    return {
        "speedup_linalg_svd": full / ours, "speedup_svd_lowrank": lowrank / ours, "speedup_lora_ga": lora_ga / ours,
        "factor_milliseconds": 1e3 * ours, "step_seconds_135m": _median(_smollm_step, 3),
        "linalg_svd_extrapolated": quick,
    }  # fmt: skip


def _smollm_step() -> None:
    sides = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
    decay = torch.logspace(0, -3, 60)[:, None]
    layer = {str(i): Factors(d=torch.randn(60, o) * decay, x=torch.randn(60, n)) for i, (o, n) in enumerate(sides)}
    for _ in range(30):
        factored_svds(layer, RANK)


def lora_ga(d: Tensor, x: Tensor) -> Tensor:
    """What PEFT's LoRA-GA does for one matrix, from its gradient's factors (tokens, d_out) and (tokens, d_in)."""
    gradient = (d.T @ x).to(torch.float32)
    u, s, v = torch.svd_lowrank(gradient, q=4 * RANK, niter=4)
    lead = u[:, RANK : 2 * RANK] @ torch.diag(s[RANK : 2 * RANK])
    return lead @ v.T[:RANK]  # direction ArB2r; what is formed of it is what the weights are offset by


def _median(work: Callable[[], object], runs: int) -> float:
    took = []
    for _ in range(runs):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return statistics.median(took)


def memory_above_forward(*, layers: int) -> float:
    """Bytes that capturing factors takes above a forward pass, in a model of Llama-3.1-8B's shape with all its layers.

    Two models of random bfloat16 weights, of ``layers`` and of half as many, are measured by what autograd and the
    hooks keep; the difference is a layer's share, times 32, beside what does not grow with layers.
    """
    fewer, more = (_kept(n) for n in (layers // 2, layers))
    each = (more - fewer) / (layers - layers // 2)
    return more + (_LAYERS_8B - layers) * each


def shape_8b(layers: int, *, tied: bool) -> Any:  # noqa: ANN401 - of transformers
    """A model of Llama-3.1-8B's shape with random bfloat16 weights, where torch makes tensors by default."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.initialization import no_init_weights

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=tied, pad_token_id=0,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    try:
        with no_init_weights():
            model = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    for parameter in model.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    return model


def _kept(layers: int) -> float:
    from remediation.checkpoints.chat import ChatModel
    from remediation.subspace.capture import Example, capture

    model = shape_8b(layers, tied=True)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(1, 1000, (TOKENS,)).tolist()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        found = capture(ChatModel(model, _Padding()), [Example(ids[:40], ids[40:])])
    for one in found.factors.values():
        keep(one.d)
        keep(one.x)
    return float(sum(held.values()))


class _Padding:
    pad_token_id = eos_token_id = 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="linalg.svd of a smaller matrix, scaled")
    found = measure(quick=parser.parse_args().quick)
    for name, asked, said in found.pop("table"):
        print(f"{name:<40} {asked:<10} {said}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps(found | {"peak_memory_gb": round(peak, 2)}))


if __name__ == "__main__":
    main()
