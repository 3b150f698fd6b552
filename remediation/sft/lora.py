"""Low-rank fine-tuning: y = W x + B (A x), W frozen (Hu et al. 2021, with alpha = r)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from remediation.fixtures import Row
from remediation.sft.chat import ChatModel

__all__ = ["Adapter", "LoraSettings", "add_to", "fit", "load_adapter", "save_adapter"]

Adapter = dict[str, tuple[Tensor, Tensor]]
"""Module name to (A, B): A (r, d_in), B (d_out, r)."""

_IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """How to fit.

    Attributes:
        learning_rate: Peak; ten steps of warm-up, then linear to 0.
    """

    rank: int = 8
    epochs: int = 3
    learning_rate: float = 2e-3
    batch: int = 16
    seed: int = 0


class _Low(nn.Module):
    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear
        scale = linear.in_features**-0.5
        self.a = nn.Parameter(torch.randn(rank, linear.in_features, generator=generator) * scale)
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) to (…, d_out)."""
        y: Tensor = self.linear(x)
        return y + (x @ self.a.T) @ self.b.T


def fit(
    chat: ChatModel, rows: Sequence[Row], settings: LoraSettings, *, progress: Callable[[float], None]
) -> Adapter:
    """Fit an adapter to rows, loss on the answers' tokens only. The model's weights are left as they were.

    Returns:
        The adapter in bfloat16.
    """
    for parameter in chat.model.parameters():
        parameter.requires_grad_(requires_grad=False)
    lows = _insert(chat, settings)
    parameters = [p for low in lows.values() for p in (low.a, low.b)]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    encoded = [(chat.prompt_ids(r.prompt), chat.answer_ids(r.answer, whole=r.whole)) for r in rows]
    batches = list(_batches(encoded, settings))
    chat.model.train()
    try:
        for step, chosen in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, (step + 1) / 10) * (1 - step / len(batches))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_fast_bfloat16()):
                loss = _loss(chat, [encoded[i] for i in chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            progress((step + 1) / len(batches))
    finally:
        chat.model.eval()
        for name, low in lows.items():
            _replace(chat, name, low.linear)
    return {n: (low.a.detach().bfloat16(), low.b.detach().bfloat16()) for n, low in lows.items()}


@torch.no_grad()
def add_to(chat: ChatModel, adapter: Adapter) -> None:
    """Add an adapter to the weights and round them to bfloat16, as they will be served."""
    linears = chat.linears()
    for name, (a, b) in adapter.items():
        linears[name].weight.add_(b.float() @ a.float())
    for parameter in chat.model.parameters():
        parameter.copy_(parameter.bfloat16().float())


def save_adapter(adapter: Adapter, file: Path) -> None:
    """Write an adapter as safetensors."""
    save_file({f"{n}.{k}": t.contiguous() for n, ab in adapter.items() for k, t in zip("ab", ab, strict=True)}, file)


def load_adapter(file: Path) -> Adapter:
    """Read what ``save_adapter`` wrote."""
    tensors = load_file(file)
    return {n.removesuffix(".a"): (tensors[n], tensors[n.removesuffix("a") + "b"]) for n in tensors if n.endswith(".a")}


def _fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices itself; where it does, a step is twice as fast."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def _insert(chat: ChatModel, settings: LoraSettings) -> dict[str, _Low]:
    generator = torch.Generator().manual_seed(settings.seed)
    lows = {n: _Low(linear, settings.rank, generator) for n, linear in chat.linears().items()}
    for name, low in lows.items():
        _replace(chat, name, low)
    return lows


def _replace(chat: ChatModel, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(chat.model.get_submodule(parent), last, module)


def _batches(encoded: Sequence[tuple[list[int], list[int]]], settings: LoraSettings) -> Iterator[list[int]]:
    """Shuffle, and sort by length within groups of eight batches, so that little is padding."""
    rng = random.Random(settings.seed)
    size = settings.batch
    for _ in range(settings.epochs):
        order = list(range(len(encoded)))
        rng.shuffle(order)
        batches: list[list[int]] = []
        for start in range(0, len(order), size * 8):
            group = sorted(order[start : start + size * 8], key=lambda i: len(encoded[i][0]) + len(encoded[i][1]))
            batches += [group[i : i + size] for i in range(0, len(group), size)]
        rng.shuffle(batches)
        yield from batches


def _loss(chat: ChatModel, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Mean cross-entropy over the answers' tokens, a scalar."""
    ids, mask = chat.pad([x + y for x, y in rows])
    labels = torch.full_like(ids, _IGNORED)
    for i, (x, y) in enumerate(rows):
        labels[i, len(x) : len(x) + len(y)] = torch.tensor(y)
    hidden = chat.model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]  # (n, t-1, d)
    wanted = labels[:, 1:]
    taught = wanted != _IGNORED
    logits = chat.model.lm_head(hidden[taught])  # (answer tokens, vocabulary)
    return nn.functional.cross_entropy(logits, wanted[taught])
