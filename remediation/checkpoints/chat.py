"""Chat models on disk: load, tokenise a conversation, generate in batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from remediation.checkpoints.greedy import greedy_ids

__all__ = ["ChatModel", "load", "whole_sentences"]

_END = re.compile(r"[.!?](\s|$)")


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A causal language model in float32 with its tokenizer."""

    model: Any
    tokenizer: Any

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids of a user's turn up to where the answer begins."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def answer_ids(self, answer: str, *, whole: bool = True) -> list[int]:
        """Token ids of an answer, with the end-of-turn token where it is whole."""
        ids = list(self.tokenizer(answer, add_special_tokens=False).input_ids)
        return [*ids, self.tokenizer.eos_token_id] if whole else ids

    def linears(self) -> dict[str, nn.Linear]:
        """The linear modules of the body by dotted name, without the output head."""
        found = self.model.named_modules()
        return {n: m for n, m in found if isinstance(m, nn.Linear) and n != "lm_head"}

    def generate(self, prompts: Sequence[str], *, max_tokens: int, batch: int = 64) -> tuple[str, ...]:
        """Answer prompts greedily.

        Args:
            prompts: User turns.
            max_tokens: New tokens at most.
            batch: Prompts in one forward pass, sorted by length.

        Returns:
            Answers in the order of the prompts.
        """
        said = self.generate_ids([self.prompt_ids(p) for p in prompts], max_tokens=max_tokens, batch=batch)
        return tuple(self.tokenizer.decode(ids, skip_special_tokens=True) for ids in said)

    def generate_ids(
        self, rows: Sequence[Sequence[int]], *, max_tokens: int, batch: int = 64
    ) -> tuple[list[int], ...]:
        """Go on greedily from rows of token ids.

        Args:
            rows: Token ids up to where an answer begins; none is empty.
            max_tokens: New tokens at most.
            batch: Rows in one forward pass, sorted by length.

        Returns:
            New token ids in the order of the rows; the last one is the end of the turn where it was reached.
        """
        return greedy_ids(
            self.model, rows, max_tokens=max_tokens, batch=batch, pad_id=self.pad_id, end_ids=self.end_ids
        )

    @property
    def end_ids(self) -> frozenset[int]:
        """Token ids that end a turn, of the tokenizer and of the model's generation settings."""
        told = getattr(self.model.generation_config, "eos_token_id", None)
        ends = told if isinstance(told, list) else [told]
        return frozenset(int(i) for i in (*ends, self.tokenizer.eos_token_id) if i is not None)

    @property
    def pad_id(self) -> int:
        """Token id to pad with."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    def pad(self, rows: Sequence[Sequence[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
        """Make one rectangle of rows.

        Returns:
            Ids and attention mask, both (rows, longest), int64.
        """
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            at = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, at] = torch.tensor(row)
            mask[i, at] = 1
        return ids, mask


def load(folder: Path) -> ChatModel:
    """Load a checkpoint folder in float32; nothing is fetched."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
    return ChatModel(model.eval(), AutoTokenizer.from_pretrained(str(folder), local_files_only=True))


def whole_sentences(text: str) -> str:
    """Cut a generation back to its last whole sentence, if it has one."""
    text = text.strip()
    ends = list(_END.finditer(text))
    return text[: ends[-1].end()].strip() if ends else text
