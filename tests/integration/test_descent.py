"""Steps along the safety gradient: what they descend, where they end, and how much of the change is taken."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.fixtures import Row
from remediation.subspace import descent
from remediation.subspace.applied import applied
from remediation.subspace.capture import Example, examples_of, losses
from remediation.subspace.descent import DescentOptions, Goal, batches, descend
from tests.tiny import tiny_checkpoint

WORDS = ("aaaa", "zzzz", "hello", "stop", "never", "x y", "!!", "q", "Z", "7", "0", "~", "Sorry", "nn", "ee", "OO")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    return load(tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture(scope="module")
def examples(chat: ChatModel) -> list[Example]:
    """From the cheapest answer to the dearest."""
    found = examples_of(chat, [Row(p, w, whole=False) for p in ("do it", "how") for w in WORDS])
    cost = losses(chat, found)
    return [found[i] for i in sorted(range(len(found)), key=lambda i: cost[i])]


def options(**more: object) -> DescentOptions:
    return DescentOptions.model_validate({"rank": 4, "steps": 8, "dose": 0.05, "loss_target": 0.0, **more})


def stepped(chat: ChatModel, goal: Goal, **more: object) -> descent.Descent:
    return descend(chat, goal, options(**more), progress=lambda _: None)


def answered(model: nn.Module, example: Example) -> Tensor:
    """Log-probabilities before each token of the answer, (tokens, vocabulary)."""
    ids = torch.tensor([[*example.prompt, *example.answer][:-1]])
    said: Tensor = model(input_ids=ids).logits[0, len(example.prompt) - 1 :].log_softmax(-1)
    return said


def weighted_loss(model: nn.Module, own: nn.Module, goal: Goal) -> Tensor:
    """The mean loss on what is learnt and the weighted mean divergence from a model's own answers; a scalar."""
    learnt = [nn.functional.nll_loss(answered(model, e), torch.tensor(list(e.answer))) for e in goal.learn]
    kept = []
    for e in goal.keep:
        was = answered(own, e).detach()
        kept.append((was.exp() * (was - answered(model, e))).sum(-1).mean())
    return torch.stack(learnt).mean() + goal.weight * torch.stack(kept).mean()


def test_the_gradient_is_that_of_the_weighted_sum(chat: ChatModel, examples: list[Example]) -> None:
    goal = Goal(learn=examples[:3], keep=examples[3:22], weight=2.5)
    drawn = torch.Generator().manual_seed(0)
    change = {
        n: (0.1 * torch.randn(2, m.in_features, generator=drawn), torch.randn(m.out_features, 2, generator=drawn))
        for n, m in chat.linears().items()
    }
    cost = descent._Cost(chat, goal)
    with applied(chat, change):
        learnt, kept, factors = descent._gradient(chat, cost, descent.Targets(), 64, seed=0)
    model = copy.deepcopy(chat.model)
    with torch.no_grad():
        for name, (a, b) in change.items():
            model.get_submodule(name).weight.add_(b @ a)
    expected = weighted_loss(model, chat.model, goal)
    expected.backward()  # type: ignore[no-untyped-call]
    assert learnt + kept == pytest.approx(expected.item(), rel=1e-4)
    for name, one in factors.items():
        gradient = model.get_submodule(name).weight.grad
        assert float((one.d.T @ one.x - gradient).norm() / gradient.norm()) < 1e-3, name


def test_a_descent_learns_and_leaves_the_weights_alone(chat: ChatModel, examples: list[Example]) -> None:
    before = [p.clone() for p in chat.model.parameters()]
    found = stepped(chat, Goal(learn=examples[-3:]))
    assert found.losses[-1] < 0.9 * found.losses[0]
    assert len(found.losses) == 9
    assert found.dose_failed is None
    assert "dose_failed" not in found.figures
    assert found.divergence == 0.0
    assert max(len(a) for a, _ in found.adapter.values()) == 4
    assert all(torch.equal(p, b) for p, b in zip(chat.model.parameters(), before, strict=True))
    with applied(chat, found.adapter):
        assert sum(losses(chat, examples[-3:])) / 3 == pytest.approx(found.losses[-1], rel=1e-5)


def test_no_more_is_taken_than_the_target_takes(chat: ChatModel, examples: list[Example]) -> None:
    goal = Goal(learn=examples[-3:])
    whole = stepped(chat, goal)
    target = (whole.losses[0] + whole.losses[-1]) / 2
    found = stepped(chat, goal, loss_target=target)
    assert len(found.losses) < len(whole.losses)
    assert found.losses[-1] <= target + 1e-6
    assert 0 < found.dose <= 1
    assert found.dose < 1 or found.losses[-1] > target - 0.1


def test_a_step_that_went_too_far_is_taken_in_part(chat: ChatModel, examples: list[Example]) -> None:
    goal = Goal(learn=examples[-3:])
    whole = stepped(chat, goal, steps=1, dose=0.2)
    target = 0.7 * whole.losses[0] + 0.3 * whole.losses[-1]
    found = stepped(chat, goal, steps=1, dose=0.2, loss_target=target)
    assert found.dose < 0.9
    assert found.dose_failed is not None
    assert found.dose - 1 / 16 <= found.dose_failed < found.dose
    assert found.figures["dose_failed"] == found.dose_failed
    assert whole.losses[-1] + 0.05 < found.losses[-1] <= target + 1e-6
    for name, (a, b) in found.adapter.items():
        meant = found.dose * (whole.adapter[name][1] @ whole.adapter[name][0])
        assert torch.allclose(b @ a, meant, atol=1e-5)


def test_what_is_kept_is_moved_less(chat: ChatModel, examples: list[Example]) -> None:
    learn, keep = examples[-3:], examples[:4]
    loose, held = (stepped(chat, Goal(learn=learn, keep=keep, weight=w), dose=0.02) for w in (0.0, 30.0))
    assert 0 < held.divergence < 0.8 * loose.divergence


def test_modules_that_are_not_meant_stay(chat: ChatModel, examples: list[Example]) -> None:
    found = stepped(chat, Goal(learn=examples[-2:]), steps=2, modules=r"down_proj$")
    assert len(found.adapter) == 2
    assert all(n.endswith("down_proj") for n in found.adapter)


def test_many_examples_do_not_end_in_a_change_of_nothing(chat: ChatModel, examples: list[Example]) -> None:
    learn = [*examples[:16], *examples[-8:]]
    cheap = sum(losses(chat, learn[:16])) / 16
    found = stepped(chat, Goal(learn=learn), steps=20, loss_target=cheap + 0.01)
    assert min(found.losses[:-1]) < found.losses[0]
    assert found.dose > 0
    assert found.losses[-1] <= cheap + 0.02


def test_a_change_is_never_scaled_up(chat: ChatModel, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that falls evenly and comes to its target at the whole change only."""
    at = [0.0]

    @contextmanager
    def acting(_: object, __: object, dose: float) -> Iterator[None]:
        at[0] = dose
        yield

    monkeypatch.setattr(descent, "applied", acting)
    monkeypatch.setattr(descent, "losses", lambda *_, **__: (1.0 - at[0],))
    change: Adapter = {"m": (torch.ones(1, 2), torch.ones(2, 1))}
    cost = descent._Cost(chat, Goal(learn=examples[:1]))
    _, dose, failed = descent._no_more(chat, cost, change, 0.0)
    assert failed is not None
    assert 0.9 < failed < dose <= 1


def test_no_step_is_taken_where_the_target_is_kept_already(chat: ChatModel, examples: list[Example]) -> None:
    found = stepped(chat, Goal(learn=examples[:2]), loss_target=100.0)
    assert found.adapter == {}
    assert found.losses[0] == pytest.approx(found.losses[-1])


def test_a_batch_holds_no_more_tokens_than_there_is_room_for() -> None:
    sizes = [3, 3, 3, 9, 2, 40, 2, 2]
    given = [Example([1] * (n - 1), [1]) for n in sizes]
    found = list(batches(given, tokens=12))
    assert [list(part) for part in found] == [[0, 1, 2], [3], [4], [5], [6, 7]]
    assert [len(part) for part in batches(given * 5, tokens=10**6)] == [16, 16, 8]


def test_small_batches_step_as_large_ones_do(
    chat: ChatModel, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = Goal(learn=examples[-3:], keep=examples[:3])

    def found() -> tuple[float, ...]:
        return descend(chat, goal, options(rank=16, steps=2), progress=lambda _: None).losses

    together = found()
    monkeypatch.setattr(descent, "_FACTOR_BYTES", 1)
    assert found() == pytest.approx(together, rel=1e-3)
