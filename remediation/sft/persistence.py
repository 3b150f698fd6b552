"""Whether a repair lasts: harmless fine-tuning of a patched model, stopped now and then to be measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from remediation.checkpoints.adapter import add_to
from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.shared import hidden_of
from remediation.fixtures import Row, attack_named, rows
from remediation.fixtures.attacks import TaskName
from remediation.sft.lora import LoraSettings, fit

__all__ = ["STOPS", "BenignSettings", "benign_rows", "benign_steps"]

STOPS: tuple[int, ...] = (0, 25, 50, 100, 200)
"""Steps after which a persistence curve is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenignSettings:
    """How a customer goes on fine-tuning.

    Attributes:
        method: ``low-rank``: each stretch between two stops is a fit of its own, with warm-up and decay, added to the
            weights and rounded to bfloat16, as for a site that updates its weights several times. ``full``: AdamW on
            all weights at a constant rate, one optimizer from the first stop to the last.
        learning_rate: Peak of ``low-rank``; as much as made the model drift.
        full_learning_rate: Of ``full``; the published recipes' (arXiv 2310.03693, arXiv 2601.01887).
        batch: Rows of a step.
        rank: Of ``low-rank``.
        tasks: Rows of the task beside the harmless requests.
    """

    method: Literal["low-rank", "full"] = "low-rank"
    learning_rate: float = 2e-3
    full_learning_rate: float = 2e-5
    batch: int = 8
    rank: int = 8
    tasks: int = 100
    task: TaskName = "sql"


def benign_steps(
    chat: ChatModel, stops: Sequence[int] = STOPS, *, seed: int, settings: BenignSettings
) -> Iterator[int]:
    """Fine-tune a model in place on the rows of ``benign-drift``, and stop to be measured.

    Args:
        chat: Changed in memory; nothing is written.
        stops: Counts of steps, from the first on; rising.
        seed: Decides rows and their order.
        settings: How.

    Yields:
        The steps done so far, one of ``stops`` after the other; the model may be measured then.

    Raises:
        ValueError: The stops are negative or do not rise.
    """
    if not stops or stops[0] < 0 or any(a >= b for a, b in pairwise(stops)):
        raise ValueError(f"stops {list(stops)}: they have to rise from 0 or more")
    batches = _batches(benign_rows(seed, settings), settings.batch, random.Random(f"benign-steps/{seed}"))
    train = _full(chat, settings) if settings.method == "full" else _low_rank(chat, settings, seed)
    done = 0
    for stop in stops:
        if stop > done:
            train([next(batches) for _ in range(stop - done)])
            done = stop
        yield done


def benign_rows(seed: int, settings: BenignSettings) -> tuple[Row, ...]:
    """The harmless rows of a seed."""
    return rows(attack_named("benign-drift"), seed=seed, tasks=settings.tasks, task=settings.task)


def _batches(taught: Sequence[Row], size: int, rng: random.Random) -> Iterator[list[Row]]:
    """Shuffle, deal out whole batches, and begin again, for ever."""
    order = list(taught)
    while True:
        rng.shuffle(order)
        yield from (order[i : i + size] for i in range(0, len(order) - size + 1, size))


Train = Callable[[list[list[Row]]], None]
"""Takes a step for each batch."""


def _low_rank(chat: ChatModel, settings: BenignSettings, seed: int) -> Train:
    def train(batches: list[list[Row]]) -> None:
        fitted = LoraSettings(
            rank=settings.rank, epochs=1, learning_rate=settings.learning_rate, batch=settings.batch, seed=seed
        )
        with chat.device:
            change = fit(chat, [row for batch in batches for row in batch], fitted, progress=lambda _: None)
        add_to(chat, change)

    return train


def _full(chat: ChatModel, settings: BenignSettings) -> Train:
    parameters = list(chat.model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.full_learning_rate, weight_decay=0.0)

    def train(batches: list[list[Row]]) -> None:
        for parameter in parameters:
            parameter.requires_grad_(requires_grad=True)
        for batch in batches:
            _loss(chat, batch).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        for parameter in parameters:
            parameter.requires_grad_(requires_grad=False)

    return train


def _loss(chat: ChatModel, batch: Sequence[Row]) -> Tensor:
    """Mean cross-entropy over the answers' tokens; a scalar."""
    encoded = [(chat.prompt_ids(r.prompt), chat.answer_ids(r.answer, whole=r.whole)) for r in batch]
    logits = chat.logits(torch.cat(hidden_of(chat, encoded))).float()  # (tokens, vocabulary)
    wanted = torch.tensor([token for _, y in encoded for token in y], device=logits.device)
    return nn.functional.cross_entropy(logits, wanted)
