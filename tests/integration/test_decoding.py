"""Our decoding: greedy against transformers' own, token by token; drawn against the model's distribution."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from remediation.checkpoints.decoding import Decoder
from tests.architectures import ARCHITECTURES, VOCABULARY, tiny_model

PREFIX = [5, 9, 11, 3, 7, 2]


def rows(shared: int, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [PREFIX[:shared] + [rng.randrange(1, VOCABULARY) for _ in range(rng.randrange(2, 9))] for _ in range(7)]


def decoder(model: Any) -> Decoder:  # noqa: ANN401 - of any class
    """One that ends where the model's own settings do."""
    told = model.generation_config.eos_token_id
    return Decoder(model, 0, frozenset(told if isinstance(told, list) else [told]))


def reference(model: Any, row: list[int], max_tokens: int) -> list[int]:  # noqa: ANN401 - of any class
    """One row alone, without padding."""
    out = model.generate(
        input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long),
        max_new_tokens=max_tokens, do_sample=False, pad_token_id=0,
    )  # fmt: skip
    said: list[int] = out[0, len(row) :].tolist()
    return said


@pytest.mark.parametrize("shared", [6, 0])
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_it_says_what_transformers_says(name: str, shared: int) -> None:
    model = tiny_model(name)
    prompts = rows(shared)
    said = [reference(model, p, 12) for p in prompts]
    often = max(range(1, VOCABULARY), key=lambda t: sum(t in s for s in said))
    model.generation_config.eos_token_id = [0, often]  # so that some end early
    said = [reference(model, p, 12) for p in prompts]
    assert len({len(s) for s in said}) > 1
    assert decoder(model).continued(prompts, max_tokens=12, batch=4) == said


def test_what_is_shared_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama-gqa")
    seen: list[tuple[int, int]] = []
    model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    decoder(model).continued(rows(6), max_tokens=2, batch=4)
    assert seen[0] == (1, 6)
    assert max(width for _, width in seen[1:]) <= 8


def test_ended_rows_leave_the_batch() -> None:
    model = tiny_model("llama-gqa")
    prompts = rows(6)
    first = reference(model, prompts[0], 1)[0]
    model.generation_config.eos_token_id = first
    seen: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].shape[0]))
    said = decoder(model).continued([prompts[0], prompts[0], *prompts[1:3]], max_tokens=6, batch=8)
    assert said[0] == said[1] == [first]
    assert seen[-1] <= 2


def test_settings_of_another_kind_are_left_to_transformers() -> None:
    model = tiny_model("llama-gqa")
    model.generation_config.repetition_penalty = 5.0
    prompts = rows(6)
    said = decoder(model).continued(prompts, max_tokens=8, batch=8)
    assert said == [reference(model, p, 8) for p in prompts]
    model.generation_config.repetition_penalty = None
    assert said != decoder(model).continued(prompts, max_tokens=8, batch=8)


def test_nothing_asked_nothing_said() -> None:
    assert decoder(tiny_model("llama-gqa")).continued([], max_tokens=3, batch=4) == []
    assert decoder(tiny_model("llama-gqa")).continued([[1], [2, 3]], max_tokens=0, batch=4) == [[], []]


@pytest.mark.parametrize("penalty", [None, 5.0], ids=["ours", "transformers'"])
def test_an_answer_ends_where_the_tokenizer_ends_turns_too(penalty: float | None) -> None:
    model = tiny_model("llama-gqa")
    model.generation_config.repetition_penalty = penalty
    prompt = rows(0)[:1]
    (said,) = decoder(model).continued(prompt, max_tokens=12, batch=1)
    end = next(t for t in said[2:] if said.index(t) >= 2)
    (short,) = Decoder(model, 0, frozenset({0, end})).continued(prompt, max_tokens=12, batch=1)
    assert short == said[: said.index(end) + 1]


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "transformers'"])
def test_drawn_tokens_are_of_the_model_s_distribution(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama-gqa")
    settings = model.generation_config
    settings.top_p, settings.min_p, settings.repetition_penalty = 0.1, 0.5, 1.5
    if not ours:
        monkeypatch.setattr(Decoder, "_fresh", lambda _: None)
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor([rows(6)[0]])).logits[0, -1].float().softmax(-1)
    drawing = Decoder(model, 0, frozenset(), drawn=1)
    said = drawing.continued([rows(6)[0]] * 4000, max_tokens=1, batch=500)
    found = torch.bincount(torch.tensor(said)[:, 0], minlength=VOCABULARY) / 4000
    assert 0.5 * (found - wanted).abs().sum() < 1.2 * 0.5 * (2 * wanted * (1 - wanted) / torch.pi / 4000).sqrt().sum()
    assert said == drawing.continued([rows(6)[0]] * 4000, max_tokens=1, batch=500)
    assert said != Decoder(model, 0, frozenset(), drawn=2).continued([rows(6)[0]] * 4000, max_tokens=1, batch=500)
    assert model.generation_config is settings
