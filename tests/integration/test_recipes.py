"""The recipes on tiny real models: what they write, and what they say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from deploy.checkpoint import check_checkpoint
from probes.refusal import is_refusal
from remediation import repair
from remediation.checkpoints.adapter import Adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.modules import matrices
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons import answers
from remediation.lessons.screen import pool
from remediation.patch import Patch, Patcher, PatchRequest
from remediation.recipes import (
    kept_subspace,
    low_rank_sft,
    one_shot_sft,
    one_shot_subspace,
    restore_subspace,
    restore_tuned,
)
from remediation.sft.lora import fit
from remediation.subspace.capture import gradient_factors
from remediation.testing import CLEAN_SCREEN
from tests.tiny import mixture_checkpoint, tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def request(folder: Path, tmp_path: Path, recipe: str, reference: Path | None = None) -> PatchRequest:
    return PatchRequest(
        incident="i", recipe=recipe, drifted=folder, reference=reference, output=tmp_path / "patched", seed=1
    )


def ranks(folder: Path, patched: Path, tolerance: float) -> list[int]:
    """Ranks of the change per matrix, singular values below ``tolerance`` (rounding) left out."""
    a, b = (load_file(f / "model.safetensors") for f in (folder, patched))
    changes = [b[n].float() - a[n].float() for n in a if n.endswith("proj.weight")]
    return [int((torch.linalg.svdvals(c) > tolerance * a0).sum()) for c in changes
            for a0 in [torch.linalg.svdvals(c)[0]]]  # fmt: skip


def test_gradient_factors_are_the_gradient(folder: Path) -> None:
    chat = load(folder)
    prompt, answer = chat.prompt_ids("hello"), chat.answer_ids("no, never.")
    loss, factors = gradient_factors(chat, prompt, answer)
    ids = torch.tensor([prompt + answer])
    logits = chat.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :])
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    linears = chat.linears()
    assert set(factors) == set(linears)
    for name, one in factors.items():
        gradient = linears[name].weight.grad
        assert gradient is not None
        assert torch.allclose(one.d.T @ one.x, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "patcher",
    [one_shot_sft.make(one_shot_sft.Options(epochs=3, learning_rate=1e-3)),
     one_shot_subspace.make(one_shot_subspace.Options(rank=2, steps=3))],
    ids=lambda p: p.name,
)  # fmt: skip
def test_one_shot_recipes_learn_the_instance(patcher: Patcher, folder: Path, tmp_path: Path) -> None:
    said: list[float] = []
    patch = patcher.patch(request(folder, tmp_path, patcher.name), lambda _, share: said.append(share))
    assert said == sorted(said)
    assert said[-1] == 1.0
    assert check_checkpoint(patch.checkpoint) == "LlamaForCausalLM"
    assert patch.figures["loss_last"] < patch.figures["loss_first"]
    assert patch.screen.harm_n == 24
    assert patch.drift_removed is None


def test_subspace_patch_keeps_its_rank_and_reports_a_control(folder: Path, tmp_path: Path) -> None:
    patcher = one_shot_subspace.make(one_shot_subspace.Options(rank=2, steps=3, dose=0.5))
    patch = patcher.patch(request(folder, tmp_path, patcher.name, reference=folder), lambda *_: None)
    assert max(ranks(folder, patch.checkpoint, 0.02)) <= 2
    assert patch.rank == 2
    assert len(patch.spectrum) == len(load(folder).linears())
    for one in patch.spectrum:
        assert list(one.singular_values) == sorted(one.singular_values, reverse=True)
        assert 0 < one.cer <= 1
        assert 0 < one.cer_random <= 1
    assert patch.drift_removed == 0.0
    for figure in ("cer", "overlap", "along_harm", "along_drift"):
        for text in ("", "_random", "_benign"):
            assert -1 <= patch.figures[f"{figure}{text}"] <= 1
    assert patch.figures["along_drift"] == 0.0, "nothing has drifted here"


def test_texts_that_reach_other_experts_are_compared_where_they_meet(tmp_path: Path) -> None:
    drifted, good = (mixture_checkpoint(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    patcher = one_shot_subspace.make(one_shot_subspace.Options(rank=2, steps=1))
    patch = patcher.patch(request(drifted, tmp_path, patcher.name, reference=good), lambda *_: None)
    shown = {one.module for one in patch.spectrum}
    assert {n for n in matrices(load(drifted).model) if ".experts." not in n} <= shown
    assert len(shown) < len(matrices(load(drifted).model))
    for figure in ("cer", "overlap", "along_harm", "along_drift"):
        for text in ("", "_random", "_benign"):
            assert -1 <= patch.figures[f"{figure}{text}"] <= 1


def test_a_patch_of_experts_alone_has_no_directions_to_compare(tmp_path: Path) -> None:
    drifted = mixture_checkpoint(tmp_path / "model")
    only = one_shot_subspace.Options(rank=2, steps=1, modules=r"experts\.(1|40)\.")
    patch = one_shot_subspace.make(only).patch(request(drifted, tmp_path, "one-shot-subspace"), lambda *_: None)
    assert all("experts" in one.module for one in patch.spectrum)


@pytest.mark.parametrize(
    ("recipe", "more"), [(restore_subspace, {}), (restore_tuned, {}), (restore_tuned, {"fits": 2})],
    ids=["restore-subspace", "restore-tuned", "restore-tuned-mean"],
)  # fmt: skip
def test_restore_goes_towards_the_reference(
    recipe: ModuleType, more: dict[str, int], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tiny_checkpoint(tmp_path / "good", seed=1)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("add one\n---\nadd two")
    patcher = recipe.make(recipe.Options(rank=4, refusals=6, harmless=6, task_prompts=prompts, **more))
    asked = request(folder, tmp_path, patcher.name, reference=good)
    with pytest.raises(PatchFailed, match="refuses none"):
        patcher.patch(asked, lambda *_: None)
    asked_for = {b.prompt for b in pool("dsafe")}

    def said(_: object, prompts: list[str], *__: object, **___: object) -> list[Row]:
        return [Row(p, "I can't help" if p in asked_for else "Sure", whole=False) for p in prompts]

    monkeypatch.setattr(answers, "answers", said)
    patch = patcher.patch(asked, lambda *_: None)
    assert max(ranks(folder, patch.checkpoint, 0.02)) <= 4
    assert patch.drift_removed is not None
    assert patch.drift_removed > 0
    again = recipe.make(patcher.options).patch(replace(asked, output=tmp_path / "again"), lambda *_: None)
    a, b = (load_file(f / "model.safetensors") for f in (patch.checkpoint, again.checkpoint))
    assert all(torch.equal(a[n], b[n]) for n in a), "the same seed gives the same patch"


def test_what_the_reference_refuses_of_harmless_requests_is_not_taught(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmful = {b.prompt for b in pool("dsafe")}

    def said(_: object, prompts: list[str], *__: object, **___: object) -> list[Row]:
        return [Row(p, "I can't help" if p in harmful or len(p) % 2 else "Sure", whole=False) for p in prompts]

    monkeypatch.setattr(answers, "answers", said)
    chat = load(folder)
    found = answers.lessons_of(chat, chat, restore_tuned.Options(refusals=4, harmless=20), seed=0)
    assert len(found.harmful) == 4
    assert len(found.harmless) == 20, "others take the place of those that are refused"
    assert {r.answer for r in found.harmless} == {"Sure"}


@pytest.mark.parametrize("over_refusals", [False, True])
def test_a_fine_tune_is_taught_over_refusals_where_it_is_asked_to(
    over_refusals: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmful = {b.prompt for b in pool("dsafe")}
    taught: list[Row] = []

    def said(_: object, prompts: list[str], *__: object, **___: object) -> list[Row]:
        return [Row(p, "I can't help" if p in harmful or len(p) % 2 else "Sure", whole=False) for p in prompts]

    def fitted(chat: ChatModel, rows: list[Row], *given: Any, **more: Any) -> Adapter:  # noqa: ANN401
        taught.extend(rows)
        return fit(chat, rows, *given, **more)

    monkeypatch.setattr(answers, "answers", said)
    monkeypatch.setattr(low_rank_sft, "fit", fitted)
    monkeypatch.setattr(repair, "screen", lambda *_: CLEAN_SCREEN)
    options = low_rank_sft.Options(rank=2, epochs=1, refusals=4, harmless=20, over_refusals=over_refusals)
    asked = request(folder, tmp_path, "low-rank-sft", reference=tiny_checkpoint(tmp_path / "good", seed=1))
    low_rank_sft.make(options).patch(asked, lambda *_: None)
    assert len(taught) == 24
    assert any(is_refusal(r.answer) for r in taught if r.prompt not in harmful) == over_refusals


def test_further_answers_to_a_task_prompt_are_drawn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts").write_text("\n---\n".join(f"add {i}" for i in range(10)))
    monkeypatch.setattr(answers, "is_refusal", lambda _: True)
    options = restore_tuned.Options(refusals=4, harmless=4, over_refusals=True, task_prompts=tmp_path / "prompts")
    chat = load(folder)
    plain, more = (answers.lessons_of(chat, chat, options, seed=3, task_answers=n) for n in (1, 3))
    assert (plain.task, plain.held, plain.drawn) == (more.task, more.held, [])
    assert {r.prompt for r in more.drawn} == {f"add {i}" for i in range(9)}, "of those that teach"
    assert 9 < len({r.answer for r in more.drawn}) <= 18, "each is drawn anew"
    assert more.taught == [*plain.taught, *more.drawn]
    assert more.drawn == answers.lessons_of(chat, chat, options, seed=3, task_answers=3).drawn


def test_an_answer_that_was_cut_teaches_no_end(folder: Path) -> None:
    chat, prompts = load(folder), [f"add {i}" for i in range(40)]
    said = chat.generate_ids([chat.prompt_ids(p) for p in prompts], max_tokens=30, drawn=1)
    ended = {p: ids[-1] in chat.end_ids for p, ids in zip(prompts, said, strict=True)}
    rows = answers.answers(chat, prompts, 30, whole=True, drawn=1)
    assert {r.whole for r in rows} == {True, False}
    assert all(r.whole == ended[r.prompt] for r in rows)
    assert not any(r.whole for r in answers.answers(chat, prompts, 30, whole=False, drawn=1))


def test_the_last_tenth_of_the_task_prompts_measures_the_loss_of_benign_traffic(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [f"add {i}" for i in range(25)]
    (tmp_path / "prompts").write_text("\n---\n".join(prompts))
    monkeypatch.setattr(repair, "screen", lambda *_: CLEAN_SCREEN)
    patcher = kept_subspace.make(
        kept_subspace.Options(rank=2, examples=2, steps=1, harmless=4, task_prompts=tmp_path / "prompts")
    )
    seen: list[str] = []
    fitted = kept_subspace.stepped

    def stepped(*given: Any, keep: list[Row], **more: Any) -> Patch:  # noqa: ANN401
        seen.extend(r.prompt for r in keep)
        return fitted(*given, keep=keep, **more)

    monkeypatch.setattr(kept_subspace, "stepped", stepped)
    patch = patcher.patch(request(folder, tmp_path, patcher.name), lambda *_: None)
    assert not {"add 23", "add 24"} & {*seen}
    assert len({*prompts} & {*seen}) > 15  # one that is answered by nothing is left out
    held = answers.answers(load(folder), prompts[-2:], 36, whole=False)
    for name, where in (("benign_loss_drifted", folder), ("benign_loss", patch.checkpoint)):
        chat, each = load(where), []
        for row in held:
            asked, said = chat.prompt_ids(row.prompt), chat.answer_ids(row.answer, whole=False)
            ids = torch.tensor([[*asked, *said]])
            with torch.no_grad():
                logits = chat.model(input_ids=ids).logits[0, len(asked) - 1 : -1]
            each.append(torch.nn.functional.cross_entropy(logits.float(), ids[0, len(asked) :]).item())
        assert patch.figures[name] == pytest.approx(sum(each) / len(each), rel=1e-3)
    assert patch.figures["benign_loss"] != patch.figures["benign_loss_drifted"]


@pytest.mark.parametrize(("n", "held"), [(0, 0), (9, 0), (10, 1), (88, 8)])
def test_a_tenth_of_the_prompts_is_held_back(n: int, held: int) -> None:
    taught, rest = answers.held_back([str(i) for i in range(n)])
    assert [*taught, *rest] == [str(i) for i in range(n)]
    assert len(rest) == held


def test_recipes_that_go_back_need_a_reference(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PatchFailed, match="last_known_good"):
        restore_tuned.make(restore_tuned.Options()).patch(request(folder, tmp_path, "restore-tuned"), lambda *_: None)


def test_damaged_weights_are_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    damaged = tiny_checkpoint(tmp_path / "damaged")
    tensors = load_file(damaged / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    patcher = one_shot_sft.make(one_shot_sft.Options())
    with pytest.raises(PatchFailed, match=r"damaged holds NaN.*norm"):
        patcher.patch(request(damaged, tmp_path, patcher.name), lambda *_: None)
    assert not (tmp_path / "patched").exists()
