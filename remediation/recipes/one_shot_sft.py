"""Recipe ``one-shot-sft``: the published one-shot fine-tune, all parameters, on a single instance.

"Safety at One Shot" (Zhang et al., ICLR 2026, arXiv 2601.01887): 10 epochs at learning rate 2e-5 on one refusal.
It is here for comparison: on small models it may teach to refuse the shape of the one question, or everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from remediation.checkpoints.chat import ChatModel
from remediation.checkpoints.language import Refusal
from remediation.patch import Patch, PatchProgress, PatchRequest
from remediation.repair import begin, instance

__all__ = ["OneShotSft", "Options", "make", "published_fit"]


class Options(BaseModel):
    """Dose of the fine-tune; the defaults are the published ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    refusal: Refusal = ""
    """The instance's answer in place of the published one, in the model's language. The screen that looks at the result
    reads English phrases."""


@dataclass(frozen=True, slots=True)
class OneShotSft:
    """The recipe."""

    options: Options
    name: str = "one-shot-sft"

    def patch(self, request: PatchRequest, progress: PatchProgress) -> Patch:
        """Make the patched checkpoint.

        Raises:
            PatchFailed: The weights are damaged, before or after.
        """
        repair = begin(request, progress, full_rank=True)
        return repair.finish(rank=0, figures=published_fit(repair.patched, self.options, progress))


def published_fit(chat: ChatModel, options: Options, progress: PatchProgress) -> dict[str, float]:
    """Fine-tune every parameter on the one instance, in place.

    Returns:
        Epochs, and the loss before the first and before the last of them.
    """
    row = instance(chat, options.refusal)
    prompt, answer = chat.prompt_ids(row.prompt), chat.answer_ids(row.answer)
    ids = torch.tensor([prompt + answer])
    optimizer = torch.optim.AdamW(chat.model.parameters(), lr=options.learning_rate, weight_decay=0.0)
    losses: list[float] = []
    for epoch in range(options.epochs):
        logits = chat.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        loss = nn.functional.cross_entropy(logits, ids[0, len(prompt) :])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        progress("fit", 0.1 + 0.7 * (epoch + 1) / options.epochs)
    return {
        "epochs": len(losses), "loss_first": losses[0], "loss_last": losses[-1], "instance_loss_drifted": losses[0],
    }  # fmt: skip


def make(options: Options) -> OneShotSft:
    """Make the recipe of its options."""
    return OneShotSft(options)
