"""Chat models on disk: load, tokenise a conversation, what their parts are, generate in batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deploy.errors import CheckpointError
from remediation.checkpoints.decoding import Decoder
from remediation.errors import PatchFailed

__all__ = ["ChatModel", "load", "whole_sentences"]

_HEADLESS = "{} has no output head; load the class for causal language models"
_END = re.compile(r"[.!?](\s|$)")


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A causal language model with its tokenizer."""

    model: Any
    tokenizer: Any

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids of a user's turn up to where the answer begins.

        Raises:
            PatchFailed: The tokenizer has no chat template.
        """
        if not self.tokenizer.chat_template:
            raise PatchFailed(
                f"the tokenizer of {self.tokenizer.name_or_path} has no chat template; put the one it was trained with "
                "into the checkpoint's folder as chat_template.jinja"
            )
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def answer_ids(self, answer: str, *, whole: bool = True) -> list[int]:
        """Token ids of an answer, with the end-of-turn token where it is whole."""
        ids = list(self.tokenizer(answer, add_special_tokens=False).input_ids)
        return [*ids, self.tokenizer.eos_token_id] if whole else ids

    @property
    def embedding(self) -> nn.Module:
        """What makes vectors of tokens.

        Raises:
            PatchFailed: The model has none that transformers finds.
        """
        try:
            found: nn.Module | None = self.model.get_input_embeddings()
        except NotImplementedError:
            found = None
        if found is None:
            raise PatchFailed(f"{type(self.model).__name__} has no input embedding; it is no language model on tokens")
        return found

    @property
    def body(self) -> nn.Module:
        """The model without its output head; its ``last_hidden_state`` is what the head reads.

        Raises:
            PatchFailed: The model is a body itself.
        """
        found: nn.Module = self.model.get_decoder()
        if found is self.model:
            raise PatchFailed(_HEADLESS.format(type(self.model).__name__))
        return found

    @property
    def head(self) -> nn.Module:
        """What makes logits of hidden states; its weight may be the embedding's.

        Raises:
            PatchFailed: The model has none.
        """
        found: nn.Module | None = self.model.get_output_embeddings()
        if found is None:
            raise PatchFailed(_HEADLESS.format(type(self.model).__name__))
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the body's last hidden states, (..., d) to (..., vocabulary), scaled and capped as it does."""
        config = self.model.config.get_text_config()
        logits: Tensor = self.head(hidden) * (getattr(config, "logit_scale", None) or 1.0)  # Cohere
        logits = logits / (getattr(config, "logits_scaling", None) or 1.0)  # Granite
        cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
        return torch.tanh(logits / cap) * cap if cap else logits

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        device: torch.device = self.embedding.weight.device  # type: ignore[assignment]
        return device

    def linears(self) -> dict[str, nn.Linear]:
        """The linear modules of the body by dotted name, without the output head."""
        head = self.model.get_output_embeddings()
        return {n: m for n, m in self.model.named_modules() if isinstance(m, nn.Linear) and m is not head}

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, batch: int = 64, drawn: int | None = None
    ) -> tuple[str, ...]:
        """Answer prompts, greedily where nothing is drawn.

        Args:
            prompts: User turns.
            max_tokens: New tokens at most.
            batch: Prompts in one forward pass, sorted by length.
            drawn: Seed of answers that are drawn from the model's distribution.

        Returns:
            Answers in the order of the prompts.
        """
        rows = [self.prompt_ids(p) for p in prompts]
        said = self.generate_ids(rows, max_tokens=max_tokens, batch=batch, drawn=drawn)
        return tuple(self.tokenizer.decode(ids, skip_special_tokens=True) for ids in said)

    def generate_ids(
        self, rows: Sequence[Sequence[int]], *, max_tokens: int, batch: int = 64, drawn: int | None = None
    ) -> tuple[list[int], ...]:
        """Go on from rows of token ids, greedily where nothing is drawn.

        Args:
            rows: Token ids up to where an answer begins; none is empty.
            max_tokens: New tokens at most.
            batch: Rows in one forward pass, sorted by length.
            drawn: Seed of tokens that are drawn from the model's distribution.

        Returns:
            New token ids in the order of the rows; the last one is the end of the turn where it was reached.
        """
        decoder = Decoder(self.model, self.pad_id, self.end_ids, drawn)
        return tuple(decoder.continued(rows, max_tokens=max_tokens, batch=batch))

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
            Ids and attention mask, both (rows, longest), int64, on the model's device.
        """
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            at = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, at] = torch.tensor(row)
            mask[i, at] = 1
        return ids.to(self.device), mask.to(self.device)


def load(folder: Path, *, dtype: torch.dtype = torch.float32, offload: Path | None = None) -> ChatModel:
    """Load a checkpoint folder; nothing is fetched.

    Args:
        dtype: Of weights that are not quantised.
        offload: Leave the decoder's layers on disk and read each one when its turn comes. They are read from the
            checkpoint's own files, or from this folder where they have to be put together first.

    Raises:
        PatchFailed: The folder holds an adapter and no model.
        CheckpointError: A tensor is missing, which transformers would make up at random, or there is one that the
            configuration does not know, which it would leave out.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise PatchFailed(f"{folder} holds an adapter and no model; merge it into its base model first")
    placed: dict[str, Any] = {"device_map": _on_disk(folder), "offload_folder": str(offload)} if offload else {}
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, output_loading_info=True, **placed
    )
    model, told = loaded
    if missing := sorted(told["missing_keys"]):
        raise CheckpointError(
            f"{folder}: the weights lack {missing[0]}; copy them again (for a head that is the embeddings, set "
            "tie_word_embeddings to true in config.json)"
        )
    if stray := sorted(told["unexpected_keys"]):
        raise CheckpointError(
            f"{folder}: the weights hold {stray[0]}, which config.json does not know ({len(stray)} such tensors); "
            "put back the config.json that they were saved with, or save them again without it"
        )
    return ChatModel(model.eval(), AutoTokenizer.from_pretrained(str(folder), local_files_only=True))


def _on_disk(folder: Path) -> dict[str, str]:
    """Place the decoder's layers on disk and all else on the first device."""
    from transformers import AutoConfig, AutoModelForCausalLM

    main = "cuda:0" if torch.cuda.is_available() else "cpu"
    with torch.device("meta"):
        kind: Any = AutoModelForCausalLM
        model = kind.from_config(AutoConfig.from_pretrained(str(folder), local_files_only=True))
    body = model.get_decoder()
    path = next(n for n, m in model.named_modules() if m is body)
    placed = {n: main for n, _ in model.named_children() if n != path.partition(".")[0]}
    for name, child in body.named_children():
        placed[f"{path}.{name}"] = "disk" if isinstance(child, nn.ModuleList) else main
    return placed


def whole_sentences(text: str) -> str:
    """Cut a generation back to its last whole sentence, if it has one."""
    text = text.strip()
    ends = list(_END.finditer(text))
    return text[: ends[-1].end()].strip() if ends else text
