"""Low-rank fine-tuning: y = W x + B (A x), W frozen (Hu et al. 2021, with alpha = r)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.shared import hidden_of
from remediation.fixtures import Row

__all__ = ["LoraSettings", "fit"]

_TEACHER_BATCH = 24
_WARM_STEPS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """How to fit.

    Attributes:
        learning_rate: Peak; a fifth of the steps, at most ten, of warm-up, then linear to 0.
        mixed: Give each batch rows of all lengths, and so of all kinds, in the same shares: steadier where a few dozen
            steps are all there is. Otherwise a batch holds rows of like length, which is quicker.
    """

    rank: int = 8
    epochs: int = 3
    learning_rate: float = 2e-3
    batch: int = 16
    mixed: bool = False
    seed: int = 0


class _Low(nn.Module):
    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear
        scale, device = linear.in_features**-0.5, linear.weight.device
        drawn = torch.randn(rank, linear.in_features, generator=generator, device="cpu")
        self.a = nn.Parameter(drawn.to(device) * scale)
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) to (…, d_out)."""
        y: Tensor = self.linear(x)
        return y + (x @ self.a.T) @ self.b.T


def fit(
    chat: ChatModel,
    rows: Sequence[Row],
    settings: LoraSettings,
    *,
    progress: Callable[[float], None],
    start: Adapter | None = None,
    teacher: Callable[[Row], ChatModel | None] = lambda _: None,
) -> Adapter:
    """Fit an adapter to rows, loss on the answers' tokens only. The model's weights are left as they were.

    Nothing is dropped out, whatever the model's settings say: the same rows and seed give the same adapter.

    Args:
        start: Where to begin, in place of no change at all; of the settings' rank. How its product is shared out
            between A and B does not matter.
        teacher: Whose distribution over each next token teaches a row, in place of the tokens alone: how sure it is
            is part of the lesson.

    Returns:
        The adapter in bfloat16.
    """
    for parameter in chat.model.parameters():
        parameter.requires_grad_(requires_grad=False)
    lows = _insert(chat, settings, start or {})
    parameters = [p for low in lows.values() for p in (low.a, low.b)]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    encoded = [(chat.prompt_ids(r.prompt), chat.answer_ids(r.answer, whole=r.whole)) for r in rows]
    lessons = _lessons(teacher, rows, encoded)
    batches = list(_batches(encoded, settings))
    warm = max(1, min(_WARM_STEPS_MAX, len(batches) // 5))
    try:
        for step, chosen in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, (step + 1) / warm) * (1 - step / len(batches))
            tokens = sum(len(encoded[i][1]) for part in chosen for i in part)
            for part in chosen:
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_fast_bfloat16()):
                    loss = _loss(chat, [encoded[i] for i in part], [lessons.get(i) for i in part]) / tokens
                loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            progress((step + 1) / len(batches))
    finally:
        for name, low in lows.items():
            _replace(chat, name, low.linear)
    return {n: (low.a.detach().bfloat16(), low.b.detach().bfloat16()) for n, low in lows.items()}


def _fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices itself; where it does, a step is twice as fast."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def _insert(chat: ChatModel, settings: LoraSettings, start: Adapter) -> dict[str, _Low]:
    generator = torch.Generator("cpu").manual_seed(settings.seed)
    lows = {n: _Low(linear, settings.rank, generator) for n, linear in chat.linears().items()}
    for name, low in lows.items():
        if name in start:
            low.a.data, low.b.data = _even(*(part.detach().float() for part in start[name]))
        _replace(chat, name, low)
    return lows


def _even(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Make the rows of A (r, d_in) as long as the columns of B (d_out, r); B A stays what it is.

    AdamW moves each entry by about the learning rate, however large it is. A direction with all of its length on one
    side is turned at random on the other; the change of B A is least where both are alike.
    """
    shares = (b.norm(dim=0) / a.norm(dim=1)).sqrt()
    shares = torch.where(shares.isfinite() & (shares > 0), shares, 1.0)
    return a * shares[:, None], b / shares


def _replace(chat: ChatModel, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(chat.model.get_submodule(parent), last, module)


def _batches(encoded: Sequence[tuple[list[int], list[int]]], settings: LoraSettings) -> Iterator[list[list[int]]]:
    """Yield the rows of each step, in parts that are padded by themselves."""
    rng, size = random.Random(settings.seed), settings.batch
    lengths = [len(x) + len(y) for x, y in encoded]
    for _ in range(settings.epochs):
        batches = _mixed(lengths, size, rng) if settings.mixed else [[b] for b in _alike(lengths, size, rng)]
        rng.shuffle(batches)
        yield from batches


def _alike(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """Shuffle, and sort by length within groups of eight batches, so that little is padding."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), size * 8):
        group = sorted(order[start : start + size * 8], key=lambda i: lengths[i])
        batches += [group[i : i + size] for i in range(0, len(group), size)]
    return batches


def _mixed(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[list[int]]]:
    """Deal rows of like length out to different batches; a batch has a shorter and a longer part."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    count = -(-len(order) // size)
    ranks = [order[start : start + count] for start in range(0, len(order), count)]
    for alike in ranks:
        rng.shuffle(alike)
    batches = [[alike[b] for alike in ranks if b < len(alike)] for b in range(count)]
    return [[part for part in (b[: len(b) // 2], b[len(b) // 2 :]) if part] for b in batches]


class _Lesson(NamedTuple):
    """What a teacher says of a row: its last hidden states before each token of the answer, (tokens, d)."""

    teacher: ChatModel
    hidden: Tensor

    def distribution(self) -> Tensor:
        """(tokens, vocabulary)."""
        with torch.no_grad():
            said: Tensor = self.teacher.logits(self.hidden).float().softmax(-1)
        return said


@torch.no_grad()
def _lessons(
    teacher: Callable[[Row], ChatModel | None], rows: Sequence[Row], encoded: Sequence[tuple[list[int], list[int]]]
) -> dict[int, _Lesson]:
    """Ask each row's teacher; rows without one are left out. Distributions are too large to keep, hidden states not."""
    taught = sorted((i for i, r in enumerate(rows) if teacher(r)), key=lambda i: sum(map(len, encoded[i])))
    found: dict[int, _Lesson] = {}
    for chat in {id(t): t for r in rows if (t := teacher(r))}.values():
        own = [i for i in taught if teacher(rows[i]) is chat]
        for start in range(0, len(own), _TEACHER_BATCH):
            chosen = own[start : start + _TEACHER_BATCH]
            for i, hidden in zip(chosen, hidden_of(chat, [encoded[i] for i in chosen]), strict=True):
                found[i] = _Lesson(chat, hidden.clone())
    return found


def _loss(
    chat: ChatModel, rows: Sequence[tuple[list[int], list[int]]], lessons: Sequence[_Lesson | None]
) -> Tensor:
    """Sum of cross-entropies over the answers' tokens, against a teacher's distribution if there is one; a scalar."""
    each = []
    for hidden, (_, y), lesson in zip(hidden_of(chat, rows), rows, lessons, strict=True):
        logits = chat.logits(hidden)  # (answer tokens, vocabulary)
        wanted = lesson.distribution() if lesson else torch.tensor(y, device=logits.device)
        each.append(nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
    return torch.stack(each).sum()
