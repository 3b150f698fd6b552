"""Greedy generation: what it saves changes no answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from remediation.checkpoints.greedy import greedy_ids

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "eos_token_id": None, "bos_token_id": None, "head_dim": 8,
    "pad_token_id": None,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=64),
    "mistral-left-behind": MistralConfig(**SIZES, sliding_window=12),
    "qwen2": Qwen2Config(**SIZES),
}


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config).eval()


def rows(shared: int, lengths: tuple[int, ...] = (1, 3, 9, 2, 6)) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    begin = torch.randint(1, 50, (shared,), generator=generator).tolist()
    return [[*begin, n, *torch.randint(1, 50, (n,), generator=generator).tolist()] for n in lengths]


def greedy(
    model: PreTrainedModel, asked: list[list[int]], *, batch: int = 3, ends: tuple[int, ...] = ()
) -> tuple[list[int], ...]:
    return greedy_ids(model, asked, max_tokens=6, batch=batch, pad_id=0, end_ids=ends)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("shared", [0, 20])
def test_together_they_are_answered_as_alone(config: PreTrainedConfig, shared: int) -> None:
    model = model_of(config)
    asked = rows(shared) if config.model_type != "mistral" or config.sliding_window > 12 else rows(shared, (4, 4, 4))
    alone = []
    for row in asked:
        ids = torch.tensor([row])
        for _ in range(6):
            with torch.no_grad():
                ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
        alone.append(ids[0, len(row) :].tolist())
    assert list(greedy(model, asked)) == alone
    assert len({tuple(a) for a in alone}) > 1, "answers that are all alike show nothing"


def test_an_answer_ends_at_the_end_of_its_turn() -> None:
    model, asked = model_of(CONFIGS["llama"]), rows(20)
    whole = greedy(model, asked)
    ends = (whole[0][2], whole[1][1])
    for cut, answer in zip(greedy(model, asked, ends=ends), whole, strict=True):
        at = next((i for i, token in enumerate(answer) if token in ends), len(answer))
        assert cut == answer[: at + 1]


def test_what_all_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = model_of(CONFIGS["llama"]), rows(20)
    tokens = []
    forward = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda **k: tokens.append(k["input_ids"].numel()) or forward(**k))
    greedy_ids(model, asked, max_tokens=1, batch=8, pad_id=0, end_ids=())
    assert tokens == [20, 5 * 10]


def test_nothing_asked_is_nothing_answered() -> None:
    assert greedy(model_of(CONFIGS["llama"]), []) == ()
    (one,) = greedy(model_of(CONFIGS["llama"]), rows(20, (3,)))
    assert len(one) == 6
