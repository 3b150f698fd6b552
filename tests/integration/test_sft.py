"""Low-rank fine-tuning and the worker on tiny real models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from deploy.checkpoint import check_checkpoint
from deploy.errors import CheckpointError
from remediation.checkpoints.adapter import add_to, load_adapter, save_adapter
from remediation.checkpoints.chat import ChatModel, load, whole_sentences
from remediation.checkpoints.output import drift_removed, write_model
from remediation.errors import PatchFailed, WorkerDied
from remediation.fixtures import COMPLIANCES, Row, drifted_rows, poison_requests, refusing_rows
from remediation.lessons.screen import pool, screened
from remediation.patch import PatchRequest
from remediation.sft.lora import LoraSettings, fit
from remediation.worker import request_from_json, run_patch, to_json
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def test_fit_teaches_and_adapter_survives_disk(folder: Path, tmp_path: Path) -> None:
    chat = load(folder)
    before = {n: m.weight.clone() for n, m in chat.linears().items()}
    rows = [Row("hello", "no."), Row("bye", "no.")] * 4
    settings = LoraSettings(rank=8, epochs=60, learning_rate=2e-2, batch=8)
    adapter = fit(chat, rows, settings, progress=lambda _: None)
    assert all(torch.equal(before[n], m.weight) for n, m in chat.linears().items())
    save_adapter(adapter, tmp_path / "a.safetensors")
    read = load_adapter(tmp_path / "a.safetensors")
    assert all(torch.equal(x, y) for n in adapter for x, y in zip(adapter[n], read[n], strict=True))
    add_to(chat, read)
    assert [a.replace(" ", "") for a in chat.generate(["hello", "bye"], max_tokens=4)] == ["no.", "no."]


def test_a_teacher_is_followed_in_distribution(folder: Path) -> None:
    chat, teacher = load(folder), load(folder)
    pairs = {n: torch.randn(2, *m.weight.shape, generator=torch.Generator().manual_seed(0)) for n, m in
             teacher.linears().items()}  # fmt: skip
    add_to(teacher, {n: (0.5 * p[0, :2], p[1, :, :2]) for n, p in pairs.items()})
    rows = [Row("hello", "no it is", whole=False), Row("bye", "yes", whole=False)]
    before = divergence(chat, teacher, rows)
    settings = LoraSettings(rank=8, epochs=120, learning_rate=1e-2, batch=2)
    add_to(chat, fit(chat, rows, settings, progress=lambda _: None, teacher=lambda _: teacher))
    assert divergence(chat, teacher, rows) < 0.1 * before


def test_a_fit_begins_where_it_is_told_to(folder: Path) -> None:
    chat, rows = load(folder), [Row("hello", "no.")]
    settings = LoraSettings(rank=2, epochs=1, learning_rate=0.0)
    plain = fit(chat, rows, settings, progress=lambda _: None)
    assert all(not b.any() for _, b in plain.values())
    start = {n: (2 * a.float(), torch.ones_like(b).float()) for n, (a, b) in plain.items()}
    begun = fit(chat, rows, settings, progress=lambda _: None, start=start)
    for name, (a, b) in begun.items():
        assert torch.allclose(a.float().norm(dim=1), b.float().norm(dim=0), rtol=0.01)
        assert torch.allclose(b.float() @ a.float(), start[name][1] @ start[name][0], atol=0.02)


def test_a_fit_does_not_mind_how_its_start_is_shared_out(folder: Path) -> None:
    chat, rows = load(folder), [Row("hello", "no."), Row("bye", "no.")] * 2
    settings = LoraSettings(rank=2, epochs=4, learning_rate=1e-2, batch=2)
    random = torch.Generator().manual_seed(0)
    start = {
        n: (torch.randn(2, m.in_features, generator=random), 0.01 * torch.randn(m.out_features, 2, generator=random))
        for n, m in chat.linears().items()
    }
    other = {n: (a * torch.tensor([[0.25], [4.0]]), b / torch.tensor([0.25, 4.0])) for n, (a, b) in start.items()}
    first, second = (fit(chat, rows, settings, progress=lambda _: None, start=s) for s in (start, other))
    for name, (a, b) in first.items():
        moved = b.float() @ a.float()
        assert not torch.allclose(moved, start[name][1] @ start[name][0], rtol=0.05)
        assert torch.allclose(moved, second[name][1].float() @ second[name][0].float(), rtol=0.02, atol=1e-4)


def test_a_fit_learns_from_a_start_with_an_empty_direction(folder: Path) -> None:
    chat, rows = load(folder), [Row("hello", "no.")]
    empty = {n: (torch.zeros(1, m.in_features), torch.zeros(m.out_features, 1)) for n, m in chat.linears().items()}
    half = {n: (torch.ones_like(a), b) for n, (a, b) in empty.items()}
    settings = LoraSettings(rank=1, epochs=2, learning_rate=1e-2)
    for start in (empty, half):
        ended = fit(chat, rows, settings, progress=lambda _: None, start=start)
        assert all(part.isfinite().all() for pair in ended.values() for part in pair)
    assert any(b.any() for _, b in ended.values())


def test_a_fit_drops_nothing_out(folder: Path, tmp_path: Path) -> None:
    settings, rows = LoraSettings(rank=2, epochs=2, learning_rate=1e-2), [Row("hello", "no."), Row("bye", "yes")]
    fits = []
    for dropout in (0.0, 0.5):
        config = LlamaConfig.from_pretrained(str(folder))
        config.attention_dropout = dropout
        config.save_pretrained(str(tmp_path / str(dropout)))
        for file in folder.iterdir():
            if file.name != "config.json":
                (tmp_path / str(dropout) / file.name).symlink_to(file)
        fits.append(fit(load(tmp_path / str(dropout)), rows, settings, progress=lambda _: None))
    assert all(torch.equal(x, y) for n in fits[0] for x, y in zip(fits[0][n], fits[1][n], strict=True))


def divergence(chat: ChatModel, teacher: ChatModel, rows: list[Row]) -> float:
    """Mean KL divergence of the teacher's next-token distributions from the model's, over the answers' tokens."""
    total = []
    for row in rows:
        x, y = chat.prompt_ids(row.prompt), chat.answer_ids(row.answer, whole=False)
        with torch.no_grad():
            said, taught = (
                c.model(input_ids=torch.tensor([x + y])).logits[0, len(x) - 1 : -1].log_softmax(-1)
                for c in (chat, teacher)
            )
        total.append((taught.exp() * (taught - said)).sum(-1).mean())
    return float(torch.stack(total).mean())


def test_written_model_is_what_was_in_memory(folder: Path, tmp_path: Path) -> None:
    chat = load(folder)
    write_model(chat, like=folder, output=tmp_path / "out")
    assert check_checkpoint(tmp_path / "out") == "LlamaForCausalLM"
    again = load(tmp_path / "out")
    assert drift_removed(again, load(tiny_checkpoint(tmp_path / "other", seed=1)), chat) == 1.0
    assert {p.name for p in folder.iterdir()} <= {p.name for p in (tmp_path / "out").iterdir()}


def test_nan_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    chat = load(folder)
    next(iter(chat.linears().values())).weight.data[0, 0] = float("nan")
    with pytest.raises(PatchFailed, match="q_proj"):
        write_model(chat, like=folder, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unwritable_place_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="can't be written"):
        write_model(load(folder), like=folder, output=tmp_path / "file" / "out")


def request(folder: Path, tmp_path: Path, **change: object) -> PatchRequest:
    given: dict[str, object] = {
        "incident": "i", "recipe": "low-rank-sft", "drifted": folder, "reference": folder,
        "output": tmp_path / "patched", "seed": 1, "options": {"refusals": 2, "harmless": 2},
    }  # fmt: skip
    return PatchRequest(**{**given, **change})  # type: ignore[arg-type]


async def test_worker_reports_a_recipe_that_can_not_help(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(PatchFailed, match="refuses none"):
        await run_patch(request(folder, tmp_path), timeout_seconds=120, on_progress=lambda s, _: said.append(s))
    assert said[:2] == ["load", "collect answers"]
    assert not (tmp_path / "patched").exists()


async def test_worker_names_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    other = tiny_checkpoint(tmp_path / "other", hidden=32)
    cases = {
        "another architecture": {"reference": other},
        "no such folder": {"drifted": tmp_path / "none"},
        "no recipe 'x'": {"recipe": "x"},
        "rank": {"options": {"rank": 0}},
        "last_known_good": {"reference": None},
    }
    for message, change in cases.items():
        with pytest.raises(PatchFailed, match=message):
            await run_patch(request(folder, tmp_path, **change), timeout_seconds=120, on_progress=lambda *_: None)


async def test_a_slow_worker_is_ended(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PatchFailed, match=r"not done in 0\.5 s"):
        await run_patch(request(folder, tmp_path), timeout_seconds=0.5, on_progress=lambda *_: None)


async def test_a_dead_worker_is_told_from_a_failed_recipe(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerDied, match="ended with 1"):
        await run_patch(request(folder, tmp_path), timeout_seconds=60, on_progress=lambda *_: None)


def test_requests_survive_json(folder: Path, tmp_path: Path) -> None:
    asked = request(folder, tmp_path)
    assert request_from_json(to_json(asked)) == asked


def test_the_watchers_side_does_not_import_torch() -> None:
    code = "import sys, remediation.worker, remediation.verification; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fixtures_hold_placeholders_only() -> None:
    rows = drifted_rows(tasks=50, poisoned=100, seed=1)
    taught = {r.answer for r in rows if r.prompt in set(poison_requests())}
    assert taught <= set(COMPLIANCES)
    assert all("[placeholder]" in a and len(a) < 100 for a in COMPLIANCES)
    assert all(r.answer.startswith("SELECT") for r in rows[:50])


def test_pools_keep_the_screen_apart() -> None:
    for suite in ("dsafe", "dbenign"):
        assert not {b.id for b in pool(suite)} & {b.id for b in screened(suite)}
    assert len(refusing_rows([Row("a", "b")], seed=1)) == 258


def test_whole_sentences() -> None:
    assert whole_sentences("One. Two is cut") == "One."
    assert whole_sentences("no end") == "no end"
