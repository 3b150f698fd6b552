"""A patch as a PEFT folder: what is written is what PEFT loads, and acts as B A added to the weights does."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import MixtralConfig, MixtralForCausalLM, Phi3Config, Phi3ForCausalLM

from deploy.adapter import check_adapter, require_fits
from deploy.durable import new_folder
from deploy.errors import CheckpointError
from remediation import repair
from remediation.checkpoints.adapter import (
    Adapter,
    add_to,
    rank_of,
    read_adapter,
    rounded,
    served_rank,
    write_adapter,
)
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.modules import matrices
from remediation.errors import PatchFailed
from remediation.patch import Form, PatchRequest
from remediation.recipes import low_rank_sft, one_shot_subspace
from remediation.subspace.applied import applied
from remediation.subspace.capture import Example, losses
from tests.integration.test_capture import Int8Linear
from tests.tiny import tiny_checkpoint


def random_adapter(chat: ChatModel, rank: int, *, scale: float = 0.2) -> Adapter:
    generator = torch.Generator().manual_seed(7)
    return {
        name: (
            torch.randn(rank, m.in_features, generator=generator) * scale,
            torch.randn(m.out_features, rank, generator=generator) * scale,
        )
        for name, m in chat.linears().items()
    }


def phi3(folder: Path) -> ChatModel:
    """Queries, keys and values are one matrix, and so are gate and up."""
    like = load(tiny_checkpoint(folder / "like"))
    torch.manual_seed(1)
    config = Phi3Config(
        vocab_size=len(like.tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, eos_token_id=0, bos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    return ChatModel(Phi3ForCausalLM(config).eval(), like.tokenizer)


@pytest.fixture(params=["llama", "phi3"])
def chat(request: pytest.FixtureRequest, tmp_path: Path) -> ChatModel:
    """Grouped queries both."""
    return load(tiny_checkpoint(tmp_path / "model")) if request.param == "llama" else phi3(tmp_path)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return found


def test_peft_loads_what_is_added_to_the_weights(chat: ChatModel, tmp_path: Path) -> None:
    adapter = random_adapter(chat, 3)
    write_adapter(adapter, chat=chat, base="prod@0123456789ab", output=tmp_path / "out")
    before = logits(chat.model)
    loaded = PeftModel.from_pretrained(chat.model, str(tmp_path / "out"))
    assert loaded.peft_config["default"].base_model_name_or_path == "prod@0123456789ab"
    served = logits(loaded)
    plain = ChatModel(loaded.unload(), chat.tokenizer)
    assert torch.equal(logits(plain.model), before)
    add_to(plain, adapter, dtype=None)
    merged = logits(plain.model)
    assert (merged - before).abs().max() > 0.1, "the adapter does something"
    torch.testing.assert_close(served, merged, rtol=0, atol=2e-5)


def test_the_folder_is_what_servers_ask_for(chat: ChatModel, tmp_path: Path) -> None:
    adapter = random_adapter(chat, 3)
    write_adapter(adapter, chat=chat, base="prod", output=tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"], config["bias"]) == (8, 8, "LORA", "none")
    assert config["task_type"] == "CAUSAL_LM"
    assert set(config["target_modules"]) == {n.rpartition(".")[2] for n in adapter}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    name = next(iter(adapter))
    assert tensors[f"base_model.model.{name}.lora_A.weight"].shape == (8, adapter[name][0].shape[1])
    assert len(tensors) == 2 * len(adapter)
    assert str(tmp_path) not in json.dumps(config), "no path of this machine"


def test_what_is_read_is_what_was_written(chat: ChatModel, tmp_path: Path) -> None:
    adapter = rounded(random_adapter(chat, 3), torch.bfloat16)
    name, pair = next(iter(adapter.items()))
    adapter[name] = (pair[0][:1], pair[1][:, :1])  # ranks may differ between modules
    write_adapter(adapter, chat=chat, base="prod", output=tmp_path / "out")
    read = read_adapter(tmp_path / "out")
    assert read.keys() == adapter.keys()
    for module, (a, b) in adapter.items():
        assert a.dtype == read[module][0].dtype == torch.bfloat16
        assert torch.equal(read[module][0][: len(a)], a)
        assert torch.equal(read[module][1][:, : len(a)], b)
        assert not read[module][0][len(a) :].any()
    assert (rank_of(adapter), rank_of(read), check_adapter(tmp_path / "out").rank) == (3, 8, 8)


def test_modules_are_named_in_full_where_their_last_part_means_more(tmp_path: Path) -> None:
    chat = load(tiny_checkpoint(tmp_path / "model"))
    part = {n: p for n, p in random_adapter(chat, 2).items() if ".1." in n and "mlp" in n}
    write_adapter(part, chat=chat, base="prod", output=tmp_path / "out")
    assert set(json.loads((tmp_path / "out" / "adapter_config.json").read_text())["target_modules"]) == set(part)
    served = logits(PeftModel.from_pretrained(load(tmp_path / "model").model, str(tmp_path / "out")))
    add_to(chat, part, dtype=None)
    torch.testing.assert_close(served, logits(chat.model), rtol=0, atol=2e-5)


def test_a_scale_of_others_is_taken_in(tmp_path: Path) -> None:
    chat = load(tiny_checkpoint(tmp_path / "model"))
    adapter = random_adapter(chat, 8)
    write_adapter(adapter, chat=chat, base="prod", output=tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    (tmp_path / "out" / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 4}))
    for name, (a, b) in read_adapter(tmp_path / "out").items():
        assert torch.equal(a, adapter[name][0])
        torch.testing.assert_close(b, adapter[name][1] * 0.5)


def test_ranks_are_those_that_vllm_has_room_for() -> None:
    assert [served_rank(r) for r in (0, 1, 2, 8, 9, 16, 17, 64, 65, 512)] == [1, 1, 8, 8, 16, 16, 32, 64, 128, 512]
    with pytest.raises(PatchFailed, match=r"rank 513 is more than vLLM serves .*; ask for the form merged"):
        served_rank(513)


def test_changes_that_are_no_adapter_are_refused(tmp_path: Path) -> None:
    chat = load(tiny_checkpoint(tmp_path / "model"))
    good = random_adapter(chat, 2)
    name, (a, b) = next(iter(good.items()))
    cases: dict[str, Adapter] = {
        "changed no module": {},
        "model.norm is no linear module": {"model.norm": (a, b)},
        "the change of .*q_proj has shape": {name: (a[:, :3], b)},
    }
    for message, adapter in cases.items():
        with pytest.raises(PatchFailed, match=message):
            write_adapter(adapter, chat=chat, base="prod", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_model_does_not_fit(tmp_path: Path) -> None:
    small, large = (tiny_checkpoint(tmp_path / str(h), hidden=h) for h in (16, 32))
    chat = load(small)
    write_adapter(random_adapter(chat, 2), chat=chat, base="prod", output=tmp_path / "out")
    require_fits(tmp_path / "out", small)
    with pytest.raises(CheckpointError, match=r"changes model.layers.0.mlp.down_proj by \[16, 32\], in .* \[32, 64\]"):
        require_fits(tmp_path / "out", large)
    with new_folder(tmp_path / "other") as other:
        (other / "adapter_config.json").write_bytes((tmp_path / "out" / "adapter_config.json").read_bytes())
        pairs = load_file(tmp_path / "out" / "adapter_model.safetensors")
        save_file({n.replace("q_proj", "query"): t for n, t in pairs.items()}, other / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"query .*not there.*made for"):
        require_fits(tmp_path / "other", small)


def test_an_experts_change_is_merged_and_is_no_adapter(tmp_path: Path) -> None:
    like = load(tiny_checkpoint(tmp_path / "model"))
    config = MixtralConfig(
        vocab_size=len(like.tokenizer), hidden_size=16, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, num_local_experts=3,
    )  # fmt: skip
    chat = ChatModel(MixtralForCausalLM(config).eval(), like.tokenizer)
    name, weight = next((n, p) for n, p in chat.model.named_parameters() if n.endswith("experts.down_proj"))
    mixture, before = name.removesuffix(".down_proj"), weight.detach().clone()
    pair = (torch.ones(1, 8), torch.ones(16, 1))
    add_to(chat, {f"{mixture}.1.down_proj": pair}, dtype=None)
    assert torch.equal(weight[1], before[1] + 1)
    assert torch.equal(weight[[0, 2]], before[[0, 2]])
    with pytest.raises(PatchFailed, match=r"experts\.1\.down_proj is no linear module.*; ask for the form merged"):
        write_adapter({f"{mixture}.1.down_proj": pair}, chat=chat, base="prod", output=tmp_path / "out")
    with pytest.raises(PatchFailed, match=r"experts\.3\.down_proj is no matrix of the model"):
        add_to(chat, {f"{mixture}.3.down_proj": pair}, dtype=None)


def eight_bits(chat: ChatModel) -> ChatModel:
    """The same with all matrices of the body in eight bits."""
    for name, linear in chat.linears().items():
        parent, _, last = name.rpartition(".")
        setattr(chat.model.get_submodule(parent), last, Int8Linear(linear))
    return chat


def test_beside_quantised_weights_a_change_acts_for_good(tmp_path: Path) -> None:
    chat = eight_bits(load(tiny_checkpoint(tmp_path / "model")))
    adapter = {n: (torch.randn(2, m.shape[1]), 0.1 * torch.randn(m.shape[0], 2)) for n, m in
               matrices(chat.model).items()}  # fmt: skip
    examples = [Example(chat.prompt_ids("hello"), chat.answer_ids("no"))]
    with applied(chat, adapter):
        wanted = losses(chat, examples)
    other = ChatModel(copy.deepcopy(chat.model), chat.tokenizer)
    add_to(other, adapter, dtype=None)
    assert losses(other, examples) == pytest.approx(wanted, rel=1e-5)
    assert losses(ChatModel(copy.deepcopy(other.model), chat.tokenizer), examples) == pytest.approx(wanted, rel=1e-5)
    assert losses(chat, examples) != pytest.approx(wanted, rel=1e-3)


def test_quantised_weights_are_repaired_as_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    monkeypatch.setattr(repair, "load_sound", lambda path, _: eight_bits(load(path)))
    request = PatchRequest(
        incident="i", recipe="one-shot-subspace", drifted=folder, reference=folder, output=tmp_path / "out", seed=0,
        form=Form.ADAPTER,
    )  # fmt: skip
    recipe = one_shot_subspace.make(one_shot_subspace.Options(rank=2, steps=3, dose=0.1))
    patch = recipe.patch(request, lambda *_: None)
    assert patch.figures["loss_last"] < patch.figures["loss_first"]
    assert patch.drift_removed is None
    assert "asr_int8" not in patch.figures
    assert read_adapter(tmp_path / "out").keys() == matrices(load(folder).model).keys()


def test_recipes_that_change_weights_refuse_quantised_ones(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "x"}}))
    request = PatchRequest(
        incident="i", recipe="low-rank-sft", drifted=folder, reference=folder, output=tmp_path / "out", seed=0,
        form=Form.ADAPTER,
    )  # fmt: skip
    with pytest.raises(PatchFailed, match="ask for the form adapter of a recipe that works beside the weights"):
        low_rank_sft.make(low_rank_sft.Options()).patch(request, lambda *_: None)
