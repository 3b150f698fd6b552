"""Predicted effects against what a step really does, on tiny models in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from remediation.checkpoints.chat import ChatModel, load
from remediation.fixtures import Row
from remediation.lessons.influence import (
    Change,
    Step,
    gradients,
    influence,
    modules_of,
    rule_step,
    sampled,
    yardstick,
)
from remediation.subspace.capture import Example, examples_of, gradient_factors
from remediation.subspace.capture import losses as losses_of
from remediation.subspace.step import Rule
from tests.tiny import tiny_checkpoint

HELD = [Row("open a lock", "No."), Row("who sells fakes?", "I will not.", whole=False)]
CANDIDATES = [Row("break in", "Sorry, no."), Row("what is a scam?", "No.")]
HARMLESS = ["hello", "2+2?", "a poem"]
FAR = 0.03
"""Of a step; not less, because the model's norms round to float32."""


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    model = load(tiny_checkpoint(tmp_path_factory.mktemp("models") / "m", seed=1))
    model.model.double()
    return model


@torch.no_grad()
def move(chat: ChatModel, changes: Mapping[str, Change], scale: float) -> None:
    for name, (left, right) in changes.items():
        chat.linears()[name].weight.add_(scale * left @ right.T)


def changes_of(chat: ChatModel, row: Row, step: Step) -> dict[str, Change]:
    [(prompt, answer)] = examples_of(chat, [row])
    _, factors = gradient_factors(chat, prompt, answer)
    return {n: step(f, chat.linears()[n]) for n, f in factors.items()}


@pytest.mark.parametrize(
    "step", [rule_step(rank=4, dose=0.01), rule_step(rank=4, dose=0.01, rule=Rule.RAW)], ids=["spectral", "raw"]
)
def test_predicted_decrease_is_the_derivative(chat: ChatModel, step: Step) -> None:
    yard = yardstick(chat, HELD, sampled(chat, HARMLESS, tokens=4, seed=0), every=1, kept=1000)
    found = influence(chat, CANDIDATES, yard, step)
    assert found.held_loss.tolist() == pytest.approx(losses_of(chat, examples_of(chat, HELD)), rel=1e-6)
    for i, row in enumerate(CANDIDATES):
        changes = changes_of(chat, row, step)
        losses = []
        for scale in (FAR, -FAR):
            move(chat, changes, scale)
            losses.append(torch.tensor(losses_of(chat, examples_of(chat, HELD)), dtype=torch.float64))
            move(chat, changes, -scale)
        derivative = (losses[1] - losses[0]) / (2 * FAR)
        assert torch.allclose(found.decrease[i], derivative, rtol=1e-2, atol=2e-5)


def test_a_step_on_a_row_lowers_its_own_loss(chat: ChatModel) -> None:
    yard = yardstick(chat, HELD, sampled(chat, HARMLESS, tokens=4, seed=0), every=1, kept=1000)
    found = influence(chat, HELD, yard, rule_step(rank=8, dose=0.01))
    assert (found.decrease.diagonal() > 0).all()
    assert found.loss.tolist() == pytest.approx(found.held_loss.tolist(), rel=1e-6)


@torch.no_grad()
def log_probs(chat: ChatModel, rows: list[Example]) -> list[torch.Tensor]:
    found = []
    for prompt, answer in rows:
        logits = chat.model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        found.append(torch.log_softmax(logits, -1))
    return found


def test_the_quadratic_is_the_divergence_of_a_small_step(chat: ChatModel) -> None:
    """Of one next token: every answer of one token, weighted by its probability, is the expectation."""
    prompts = [chat.prompt_ids(p) for p in HARMLESS[:2]]
    vocabulary = chat.model.config.vocab_size
    step = rule_step(rank=4, dose=1e-3)
    changes = changes_of(chat, CANDIDATES[0], step)
    before = log_probs(chat, [(p, [0]) for p in prompts])
    move(chat, changes, 1.0)
    after = log_probs(chat, [(p, [0]) for p in prompts])
    move(chat, changes, -1.0)
    for prompt, b, a in zip(prompts, before, after, strict=True):
        true = float((b.exp() * (b - a)).sum())
        every = gradients(chat, [(prompt, [t]) for t in range(vocabulary)], modules_of(chat), kept=1000)
        along = every.along(changes) * every.tokens.sqrt()
        weights = b[0].exp()
        assert float((weights * along).sum()) == pytest.approx(0.0, abs=1e-9 + 1e-6 * float(along.abs().max()))
        assert float((weights * along.square()).sum()) / 2 == pytest.approx(true, rel=0.02)


def test_drawn_answers_estimate_the_divergence_of_a_whole_answer(chat: ChatModel) -> None:
    """Many drawn answers of three tokens, against the divergence along those very answers."""
    drawn = sampled(chat, ["hello"] * 150, tokens=3, seed=4)
    step = rule_step(rank=4, dose=1e-3)
    yard = yardstick(chat, HELD[:1], drawn, every=1, kept=1000)
    found = influence(chat, CANDIDATES[:1], yard, step)
    # what is compared is per answer: the mean over answers of tokens times the divergence a token
    estimate = float((found.harmless[0].square() * yard.harmless.tokens).mean()) / 2
    changes = changes_of(chat, CANDIDATES[0], step)
    before = log_probs(chat, drawn)
    move(chat, changes, 1.0)
    after = log_probs(chat, drawn)
    move(chat, changes, -1.0)
    true = sum(float((b.exp() * (b - a)).sum()) for b, a in zip(before, after, strict=True)) / len(drawn)
    assert estimate == pytest.approx(true, rel=0.35)


def test_answers_are_drawn_from_the_model_whatever_its_settings_ask_for(
    chat: ChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sampled(chat, ["hello"] * 8, tokens=12, seed=1)
    settings = GenerationConfig(eos_token_id=0, repetition_penalty=1.5, no_repeat_ngram_size=1, min_p=0.3)
    monkeypatch.setattr(chat.model, "generation_config", settings)
    assert sampled(chat, ["hello"] * 8, tokens=12, seed=1) == plain
    assert chat.model.generation_config is settings


def test_padding_behind_any_end_of_a_turn_is_no_answer(chat: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sampled(chat, ["hello"] * 8, tokens=12, seed=1)
    end = next(t for _, a in plain for t in a[:-1])
    monkeypatch.setattr(chat.model, "generation_config", GenerationConfig(eos_token_id=[0, end]))
    drawn = sampled(chat, ["hello"] * 8, tokens=12, seed=1)
    assert any(a[-1] == end for _, a in drawn)
    assert all(not {0, end} & set(a[:-1]) for _, a in drawn)


def test_answers_are_drawn_and_end_where_the_model_ends_them(chat: ChatModel) -> None:
    first, second = (sampled(chat, ["hello"] * 8, tokens=5, seed=s) for s in (0, 1))
    assert first != second
    assert first == sampled(chat, ["hello"] * 8, tokens=5, seed=0)
    assert all(1 <= len(a) <= 5 and 0 not in a[:-1] for _, a in first)


def test_truncated_gradients_stay_close_and_every_n_th_block_counts_alone(chat: ChatModel) -> None:
    harmless = sampled(chat, HARMLESS, tokens=4, seed=0)
    step = rule_step(rank=4, dose=0.01)
    whole, kept, last = (
        influence(chat, CANDIDATES, yardstick(chat, HELD, harmless, every=e, kept=k), step)
        for e, k in ((1, 1000), (1, 8), (2, 1000))
    )
    assert torch.allclose(whole.decrease, kept.decrease, rtol=0.1)
    assert not torch.allclose(whole.decrease, last.decrease, rtol=0.1)
    names = modules_of(chat, every=2)
    assert names
    assert all(".1." in n for n in names)
    assert len(names) * 2 == len(modules_of(chat))


def test_nothing_to_score_is_refused(chat: ChatModel) -> None:
    yard = yardstick(chat, HELD, sampled(chat, HARMLESS, tokens=4, seed=0))
    with pytest.raises(ValueError, match="no candidate"):
        influence(chat, [], yard, rule_step(rank=4, dose=0.1))
    with pytest.raises(ValueError, match="no row"):
        yardstick(chat, [], [])


def test_one_checkpoint_is_left_as_it_was(chat: ChatModel, tmp_path: Path) -> None:
    before = {n: p.clone() for n, p in chat.model.named_parameters()}
    yard = yardstick(chat, HELD, sampled(chat, HARMLESS, tokens=4, seed=0))
    influence(chat, CANDIDATES, yard, rule_step(rank=4, dose=0.01))
    assert all(torch.equal(p, before[n]) for n, p in chat.model.named_parameters())
    assert all(p.requires_grad and p.grad is None for p in chat.model.parameters())
