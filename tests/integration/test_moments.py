"""Second moments of inputs on tiny real models, and the closed form that is solved from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from remediation.checkpoints import shared
from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import load
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons import answers
from remediation.recipes import restore_subspace
from remediation.subspace import moments
from remediation.subspace.capture import input_moments, shared_prefix
from tests.tiny import mixture_checkpoint, tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def test_input_moments_count_real_tokens_only(folder: Path) -> None:
    chat = load(folder)
    short, long = Row("a", "b", whole=False), Row("a longer one", "bcd", whole=False)
    together = input_moments(chat, [short, long])
    tokens = [len(chat.prompt_ids(r.prompt)) + len(chat.answer_ids(r.answer, whole=False)) for r in (short, long)]
    for name, moment in together.items():
        alone = [input_moments(chat, [r])[name] * n for r, n in zip((short, long), tokens, strict=True)]
        assert torch.allclose(moment, sum(alone) / sum(tokens), rtol=1e-3, atol=1e-5)  # type: ignore[arg-type]
    q, k = (next(m for n, m in together.items() if n.endswith(e)) for e in ("q_proj", "k_proj"))
    assert q is k
    assert 0 < shared_prefix(chat) < min(tokens)


def test_input_moments_of_a_shared_expert_are_those_of_its_layer(tmp_path: Path) -> None:
    """It is given the tokens of all rows in one, without rows."""
    chat = load(mixture_checkpoint(tmp_path / "mixture", experts=4))
    rows, seen = [Row("a", "b", whole=False), Row("a longer one", "bcd", whole=False)], []
    found = input_moments(chat, rows, skip=3)
    name, shared_expert = next((n, m) for n, m in chat.linears().items() if n.endswith("shared_expert.up_proj"))
    shared_expert.register_forward_hook(lambda _, given, __: seen.append(given[0].reshape(-1, given[0].shape[-1])))
    for row in rows:
        ids = chat.prompt_ids(row.prompt) + chat.answer_ids(row.answer, whole=False)
        chat.body(input_ids=torch.tensor([ids]), use_cache=False)
    counted = torch.cat([x[3:] for x in seen])
    assert torch.allclose(found[name], counted.T @ counted / len(counted), rtol=1e-3, atol=1e-5)
    with pytest.raises(PatchFailed, match="up_proj reads 2 of 6 tokens"):
        moments._counted_of("up_proj", torch.zeros(2, 4), torch.ones(2, 3, dtype=torch.bool))


def test_the_template_of_the_model_that_is_repaired_decides_what_all_its_prompts_share(tmp_path: Path) -> None:
    drifted, good = (load(tiny_checkpoint(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    lessons = answers.Lessons([Row("a", "b"), Row("what now", "no")], [Row("c", "yes")], [Row("add one", "two")], [])

    def solved() -> Adapter:
        options = restore_subspace.Options(rank=4)
        return restore_subspace.restoring_adapter(drifted, good, lessons, options, seed=0, progress=lambda *_: None)

    alike = solved()
    good.tokenizer.chat_template = "<u> be good, " + good.tokenizer.chat_template
    assert shared_prefix(good) > shared_prefix(drifted)
    for name, (a, b) in solved().items():
        assert torch.equal(b @ a, alike[name][1] @ alike[name][0])


def test_input_moments_of_rows_that_begin_alike_read_the_beginning_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_SHARED_MIN", 2)
    chat = load(folder)
    rows, skip = [Row(p, "an answer", whole=False) for p in ("x", "Yes, it is.", "a longer one")], shared_prefix(chat)
    found = input_moments(chat, rows, skip=skip)
    assert shared.shared_by(chat, [chat.prompt_ids(r.prompt) for r in rows], most=skip) == skip
    alone = [input_moments(chat, [r], skip=skip) for r in rows]  # a single row is read whole
    tokens = [len(chat.prompt_ids(r.prompt)) + len(chat.answer_ids(r.answer, whole=False)) - skip for r in rows]
    for name, moment in found.items():
        expected = sum(n * one[name] for n, one in zip(tokens, alone, strict=True)) / sum(tokens)
        assert torch.allclose(moment, expected, rtol=1e-3, atol=1e-5), name


def test_moments_that_do_not_fit_at_once_are_taken_a_group_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drifted, good = load(folder), load(tiny_checkpoint(tmp_path / "good", seed=1))
    lessons = answers.Lessons([Row("a", "b"), Row("what now", "no")], [Row("c", "yes")], [Row("add one", "two")], [])
    passes: list[int] = []

    def counted(*given: object, modules: list[str], **more: object) -> dict[str, torch.Tensor]:
        passes.append(len(modules))
        return input_moments(*given, modules=modules, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(restore_subspace, "input_moments", counted)

    def solved() -> Adapter:
        options = restore_subspace.Options(rank=4)
        return restore_subspace.restoring_adapter(drifted, good, lessons, options, seed=0, progress=lambda *_: None)

    at_once = solved()
    assert passes == [len(drifted.linears())] * 2
    passes.clear()
    monkeypatch.setattr(restore_subspace, "_ELEMENTS", 3 * 2 * next(iter(drifted.linears().values())).in_features ** 2)
    in_groups = solved()
    assert len(passes) > 2 * len(drifted.linears()) / 3 - 1
    assert max(passes) <= 3
    assert list(in_groups) == list(at_once) == list(drifted.linears())
    for name, (a, b) in at_once.items():
        other_a, other_b = in_groups[name]
        assert torch.allclose(b @ a, other_b @ other_a, atol=1e-6), name
