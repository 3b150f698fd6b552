"""Rows that begin alike give the same hidden states and gradients, whether what they share is read once or not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from remediation.checkpoints import shared
from remediation.checkpoints.chat import ChatModel
from tests.architectures import ARCHITECTURES, VOCABULARY, tiny_model


class Padding:
    pad_token_id = eos_token_id = 0


def rows(begin: int) -> list[tuple[list[int], list[int]]]:
    drawn = torch.Generator().manual_seed(5)
    draw = lambda n: torch.randint(1, VOCABULARY, (n,), generator=drawn).tolist()  # noqa: E731
    first = draw(begin)
    return [(first + draw(own), draw(answer)) for own, answer in ((3, 4), (6, 2), (2, 5))]


def gradients(chat: ChatModel, asked: list[tuple[list[int], list[int]]]) -> tuple[list[Tensor], dict[str, Tensor]]:
    chat.model.zero_grad()
    found = shared.hidden_of(chat, asked)
    torch.stack([(h * h.detach().sin()).sum() for h in found]).sum().backward()
    grads = {n: p.grad.clone() for n, p in chat.model.named_parameters() if p.grad is not None}
    return [h.detach() for h in found], grads


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_shared_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, asked = ChatModel(tiny_model(name), Padding()), rows(12)
    together, grads = gradients(chat, asked)
    monkeypatch.setattr(shared, "_SHARED_MIN", 10**6)
    apart, expected = gradients(chat, asked)
    for a, b, (_, answer) in zip(together, apart, asked, strict=True):
        assert len(a) == len(answer)
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    assert grads.keys() == expected.keys()
    for parameter, gradient in expected.items():
        near = 1e-5 * float(gradient.abs().max()) + 1e-7
        assert torch.allclose(grads[parameter], gradient, rtol=1e-3, atol=near), parameter


def test_the_beginning_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = ChatModel(tiny_model("llama-gqa"), Padding())
    read: list[tuple[int, ...]] = []
    chat.body.register_forward_pre_hook(
        lambda _, __, given: read.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    shared.hidden_of(chat, rows(12))
    assert read == [(1, 12), (3, 8)]
    read.clear()
    shared.hidden_of(chat, rows(4))
    assert read == [(3, 12)], "too little is shared"


def test_one_prompt_asked_twice_shares_no_token_that_is_read_off() -> None:
    chat = ChatModel(tiny_model("llama-mha"), Padding())
    prompt = list(range(1, 13))
    both = shared.hidden_of(chat, [(prompt, [3, 4]), (prompt, [3, 5])])
    (alone,) = shared.hidden_of(chat, [(prompt, [3, 4])])
    assert torch.allclose(both[0], alone, atol=1e-5)
    assert torch.allclose(both[1], alone, atol=1e-5)
