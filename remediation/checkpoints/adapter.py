"""A low-rank change of a model's linear modules: in memory, on disk, and added to the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deploy.adapter import ADAPTER_WEIGHTS, RANKS, check_adapter
from deploy.weights import ADAPTER_CONFIG
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.disk import new_patch
from remediation.checkpoints.modules import Matrix, Targets, matrices
from remediation.errors import PatchFailed

__all__ = [
    "Adapter",
    "add_to",
    "load_adapter",
    "rank_of",
    "read_adapter",
    "rounded",
    "save_adapter",
    "served_rank",
    "write_adapter",
]

Adapter = dict[str, tuple[Tensor, Tensor]]
"""Module name to (A, B): A (r, d_in), B (d_out, r); the change of the module's weight is B A."""
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@torch.no_grad()
def add_to(chat: ChatModel, adapter: Adapter, *, dtype: torch.dtype | None = torch.bfloat16) -> None:
    """Add an adapter to the weights and round them as they will be served.

    Beside quantised weights, which take no sum, it acts for good: y = W x + B (A x), as servers have it.

    Args:
        dtype: What to round all parameters to; ``None`` leaves them as they are.

    Raises:
        PatchFailed: It changes what is no matrix of the model.
    """
    modules = dict(chat.model.named_modules())
    beside = {n: m for n, m in matrices(chat.model).items() if n in adapter and not m.plain} if adapter else {}
    for name, (a, b) in adapter.items():
        if name in beside:
            beside[name].module.register_forward_hook(partial(_acts, a, b))
        else:
            weight = _weight(modules, name)
            weight.add_(b.to(weight.device, torch.float32) @ a.to(weight.device, torch.float32))
    if dtype is not None:
        for parameter in chat.model.parameters():
            parameter.copy_(parameter.to(dtype).to(parameter.dtype))


def _acts(a: Tensor, b: Tensor, _: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    x = given[0]
    return out + ((x @ a.to(x.device, x.dtype).T) @ b.to(x.device, x.dtype).T).to(out.dtype)


def rounded(adapter: Adapter, dtype: torch.dtype) -> Adapter:
    """Return the adapter in another number format."""
    return {name: (a.detach().to(dtype), b.detach().to(dtype)) for name, (a, b) in adapter.items()}


def rank_of(adapter: Adapter) -> int:
    """Return the largest rank of the pairs, 0 where there are none."""
    return max((len(a) for a, _ in adapter.values()), default=0)


def served_rank(rank: int) -> int:
    """Return the rank that an adapter of this rank is written at: the next one that vLLM has room for.

    Raises:
        PatchFailed: There is none as large.
    """
    found = next((r for r in RANKS if r >= rank), None)
    if found is None:
        raise PatchFailed(f"rank {rank} is more than vLLM serves as an adapter ({RANKS[-1]}); ask for the form merged")
    return found


def write_adapter(
    adapter: Adapter, *, chat: ChatModel, base: str, output: Path, more: Callable[[Path], None] = lambda _: None
) -> None:
    """Write an adapter as a PEFT LoRA folder, whole or not at all.

    All pairs get one rank, the next that vLLM has room for, by rows and columns of zeros; ``lora_alpha`` is the rank,
    so that the change is B A. A fused module (``qkv_proj``) is one module, as transformers names it.

    Args:
        chat: The model that it changes, for the names and shapes of its modules.
        base: Name of that model: a release id or a folder's name, no path.
        more: Writes further files into the folder.

    Raises:
        PatchFailed: The adapter is empty, its rank is too large, or it changes what is no linear module of the model.
        CheckpointError: The disk is full or the place can't be written; nothing is left.
    """
    if not adapter:
        raise PatchFailed("the recipe changed no module, so there is no adapter to write; raise its dose")
    rank = served_rank(rank_of(adapter))
    _require_modules(adapter, chat)
    tensors: dict[str, Tensor] = {}
    for name in sorted(adapter):
        a, b = adapter[name]
        missing = rank - len(a)
        tensors[f"{_PREFIX}{name}{_A}"] = nn.functional.pad(a, (0, 0, 0, missing)).contiguous()  # (rank, d_in)
        tensors[f"{_PREFIX}{name}{_B}"] = nn.functional.pad(b, (0, missing)).contiguous()  # (d_out, rank)
    config = {
        "base_model_name_or_path": base, "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
        "lora_alpha": rank, "lora_dropout": 0.0, "peft_type": "LORA", "r": rank,
        "target_modules": _targets(adapter, chat), "task_type": "CAUSAL_LM",
    }  # fmt: skip
    with new_patch(output, more) as folder:
        (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2))
        save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def read_adapter(folder: Path) -> Adapter:
    """Read a PEFT LoRA folder of one rank; a scale other than 1 is put into B.

    Raises:
        CheckpointError: It is none, or it is damaged.
    """
    said = check_adapter(folder)
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    pairs = {m: (tensors[f"{_PREFIX}{m}{_A}"], tensors[f"{_PREFIX}{m}{_B}"]) for m in said.pairs}
    return pairs if said.scale == 1 else {m: (a, b * said.scale) for m, (a, b) in pairs.items()}


def save_adapter(adapter: Adapter, file: Path) -> None:
    """Write an adapter as one safetensors file, as the project ships the demo's fine-tunes."""
    save_file({f"{n}.{k}": t.contiguous() for n, ab in adapter.items() for k, t in zip("ab", ab, strict=True)}, file)


def load_adapter(file: Path) -> Adapter:
    """Read what ``save_adapter`` wrote."""
    tensors = load_file(file)
    return {n.removesuffix(".a"): (tensors[n], tensors[n.removesuffix("a") + "b"]) for n in tensors if n.endswith(".a")}


def _weight(modules: Mapping[str, nn.Module], name: str) -> Tensor:
    """Return a matrix as it is stored, seen as (d_out, d_in); an expert's is a slice of its mixture's parameter."""
    found = modules.get(name)
    if isinstance(found, nn.Linear):
        return found.weight
    expert, _, parameter = name.rpartition(".")
    mixture, _, number = expert.rpartition(".")
    experts = modules.get(mixture)
    weight = getattr(experts, parameter, None)
    if not isinstance(weight, Tensor) or weight.ndim != 3 or not number.isdigit() or int(number) >= len(weight):
        raise PatchFailed(f"{name} is no matrix of the model; the recipe is at fault, try another")
    return weight[int(number)].T if getattr(experts, "is_transposed", False) else weight[int(number)]


def _require_modules(adapter: Adapter, chat: ChatModel) -> None:
    linears = _linears(chat)
    for name, (a, b) in adapter.items():
        if name not in linears:
            raise PatchFailed(f"{name} is no linear module, so an adapter can't change it; ask for the form merged")
        if (len(b), a.shape[1]) != linears[name].shape:
            raise PatchFailed(
                f"the change of {name} has shape {[len(b), a.shape[1]]}, its weight {list(linears[name].shape)}; the "
                "recipe is at fault, try another"
            )


def _targets(adapter: Adapter, chat: ChatModel) -> list[str]:
    """Name modules by their last part where that means the same modules, else in full."""
    last = {name.rpartition(".")[2] for name in adapter}
    meant = {name for name in _linears(chat) if name.rpartition(".")[2] in last}
    return sorted(last if meant == adapter.keys() else adapter)


def _linears(chat: ChatModel) -> dict[str, Matrix]:
    """What PEFT and servers put an adapter beside: linear modules, quantised ones too, no experts."""
    known = matrices(chat.model, Targets(head=True, routers=True))
    return {n: m for n, m in known.items() if m.expert is None and not m.transposed}
