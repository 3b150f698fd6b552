"""A patched checkpoint on disk: the drifted one's number format, files and ties, and a note of where it came from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from deploy.checkpoint import check_checkpoint, import_checkpoint
from deploy.weights import shards_of, tensors_of
from remediation.checkpoints.adapter import Adapter, read_adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.output import stored_dtype, write_model
from remediation.checkpoints.restored import restored
from remediation.errors import PatchFailed
from remediation.patch import Form, PatchRequest
from remediation.repair import begin
from tests.tiny import tiny_checkpoint
from tests.unit.deploy.test_adapter import NOW


def in_format(folder: Path, dtype: torch.dtype) -> Path:
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t.to(dtype) for n, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": str(dtype).removeprefix("torch.")}))
    return folder


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_number_format_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = in_format(tiny_checkpoint(tmp_path / "model"), dtype)
    chat = load(folder)
    turns = {n: b.clone() for n, b in chat.model.named_buffers()}
    chat.linears()["model.layers.0.mlp.up_proj"].weight.data += 1 / 3
    write_model(chat, like=folder, output=tmp_path / "out")
    assert stored_dtype(tmp_path / "out") is dtype
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert {n for n in before if not torch.equal(before[n], after[n])} == {"model.layers.0.mlp.up_proj.weight"}
    assert {t.dtype for t in after.values()} == {dtype}
    assert (tmp_path / "out" / "config.json").read_text() == (folder / "config.json").read_text()
    assert all(p.dtype == torch.float32 for p in chat.model.parameters()), "the model in memory stays as it is"
    assert all(torch.equal(b, turns[n]) for n, b in chat.model.named_buffers())


def test_what_does_not_fit_a_format_is_refused(tmp_path: Path) -> None:
    folder = in_format(tiny_checkpoint(tmp_path / "model"), torch.float16)
    chat = load(folder)
    chat.linears()["model.layers.0.mlp.up_proj"].weight.data[0, 0] = 1e6
    with pytest.raises(PatchFailed, match=r"up_proj.weight does not fit into torch.float16; save the checkpoint in"):
        write_model(chat, like=folder, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shards_are_written_anew(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    chat = load(folder)
    sharded = tmp_path / "sharded"
    chat.model.bfloat16().save_pretrained(str(sharded), max_shard_size="8KB")
    for file in folder.iterdir():
        if not (sharded / file.name).exists() and file.name != "model.safetensors":
            (sharded / file.name).write_bytes(file.read_bytes())
    assert len(shards_of(sharded)) > 1
    write_model(load(sharded), like=sharded, output=tmp_path / "out")
    assert check_checkpoint(tmp_path / "out") == "LlamaForCausalLM"
    assert not {p.name for p in (tmp_path / "out").glob("*index.json")} & {p.name for p in sharded.iterdir()}
    assert {n: t.shape for n, t in tensors_of(tmp_path / "out").items()} == {
        n: t.shape for n, t in tensors_of(sharded).items()
    }


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_stays_tied_and_another_stays_apart(tmp_path: Path, tied: bool) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    if not tied:
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    write_model(load(folder), like=folder, output=tmp_path / "out")
    assert ("lm_head.weight" in tensors_of(tmp_path / "out")) is not tied
    model = load(tmp_path / "out").model
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied


def small(chat: ChatModel) -> Adapter:
    return {n: (torch.full((2, m.in_features), 0.1), torch.full((m.out_features, 2), 0.1)) for n, m in
            chat.linears().items()}  # fmt: skip


def test_both_forms_say_where_they_came_from(tmp_path: Path) -> None:
    drifted = import_checkpoint(tiny_checkpoint(tmp_path / "model"), tmp_path / "store", name="prod", created_at=NOW)
    request = PatchRequest(
        incident="inc-1", recipe="some", drifted=drifted.path, reference=None, output=tmp_path / "merged", seed=3,
        parent_digest=drifted.manifest.digest,
    )  # fmt: skip
    adapter_request = replace(request, form=Form.ADAPTER, output=tmp_path / "adapter")
    for asked in (request, adapter_request):
        repair = begin(asked, lambda *_: None)
        patch = repair.finish(adapter=small(repair.drifted), figures={"dose": 1.0})
        assert (patch.form, patch.rank, patch.checkpoint) == (asked.form, 2, asked.output)
        assert json.loads((asked.output / "alignd-patch.json").read_text()) == {
            "recipe": "some", "incident": "inc-1", "seed": 3, "form": asked.form, "rank": 2, "parent": drifted.id,
            "parent_digest": drifted.manifest.digest,
        }  # fmt: skip
        assert not (asked.output / "alignd-manifest.json").exists()
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == drifted.id
    before, after = load(drifted.path).linears(), load(tmp_path / "merged").linears()
    for name, (a, b) in read_adapter(tmp_path / "adapter").items():
        wanted = (before[name].weight + b.float() @ a.float()).bfloat16().float()
        assert torch.equal(after[name].weight, wanted)


def test_a_recipe_that_added_its_change_already_gets_it_once(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    request = PatchRequest(
        incident="i", recipe="some", drifted=folder, reference=None, output=tmp_path / "out", seed=0
    )
    repair = begin(request, lambda *_: None)
    with torch.no_grad():
        for module in repair.patched.linears().values():
            module.weight.add_(9)
    repair.finish(adapter=small(repair.drifted), figures={})
    moved = load(tmp_path / "out").linears()["model.layers.0.mlp.up_proj"].weight - load(folder).linears()[
        "model.layers.0.mlp.up_proj"].weight  # fmt: skip
    assert moved.mean().item() == pytest.approx(0.02, rel=0.05)


def test_a_repair_is_looked_at_after_harmless_fine_tuning_and_written_without_it(tmp_path: Path) -> None:
    folder = in_format(tiny_checkpoint(tmp_path / "model", seed=1, refuses=True), torch.float32)
    weights = load_file(folder / "model.safetensors")
    exact = {n: w + 1e-4 for n, w in weights.items()}  # what bfloat16 would round
    save_file(exact, folder / "model.safetensors", metadata={"format": "pt"})
    request = PatchRequest(
        incident="i", recipe="some", drifted=folder, reference=None, output=tmp_path / "out", seed=0, benign_steps=2
    )
    repair = begin(request, lambda *_: None)
    patch = repair.finish(adapter={n: (a, 0 * b) for n, (a, b) in small(repair.drifted).items()}, figures={})
    assert set(patch.figures) == {"asr_int8", "asr_after_benign_steps_2"}
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(w, exact[n]) for n, w in written.items())


def test_a_model_that_was_changed_for_a_while_gets_its_weights_back(tmp_path: Path) -> None:
    chat = load(tiny_checkpoint(tmp_path / "model"))
    before = [p.detach().clone() for p in chat.model.parameters()]
    with pytest.raises(RuntimeError, match="stopped"), restored(chat), torch.no_grad():
        for parameter in chat.model.parameters():
            parameter.zero_()
        raise RuntimeError("stopped")
    assert all(torch.equal(p, b) for p, b in zip(chat.model.parameters(), before, strict=True))
