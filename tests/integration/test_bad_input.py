"""Checkpoints that can't be repaired: each is refused by name, with the way out, before anything is written."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from deploy.errors import CheckpointError
from remediation import repair
from remediation.checkpoints.adapter import write_adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.language import other_script, unknown_share
from remediation.checkpoints.output import drift_removed, write_model
from remediation.errors import PatchFailed
from remediation.patch import Form, PatchRequest
from remediation.repair import INSTANCE, instance
from remediation.worker import perform
from tests.tiny import served_checkpoint, tiny_checkpoint

Change = Callable[[Path], None]
HEAD, Q_PROJ = "lm_head.weight", "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def asked(tmp_path: Path) -> PatchRequest:
    """A recipe that gets as far as loading both checkpoints."""
    drifted, good = tiny_checkpoint(tmp_path / "drifted"), tiny_checkpoint(tmp_path / "good", seed=1, refuses=True)
    return PatchRequest(
        incident="i", recipe="restore-subspace", drifted=drifted, reference=good, output=tmp_path / "work" / "out",
        seed=1, options={"rank": 2, "refusals": 2, "harmless": 2},
    )  # fmt: skip


def configured(**values: object) -> Change:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return change


def stored(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def with_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[Q_PROJ][0, 0] = float("nan")


def with_another_head(tensors: dict[str, torch.Tensor]) -> None:
    tensors[HEAD] = tensors["model.embed_tokens.weight"] + 1


def with_half_a_matrix(tensors: dict[str, torch.Tensor]) -> None:
    tensors[Q_PROJ] = tensors[Q_PROJ][:, :8].contiguous()


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def templated(text: str) -> Change:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return change


def as_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


CASES: dict[str, tuple[Change, str]] = {
    "no chat template": (without_template, "no chat template; put the one that it was fine-tuned with into"),
    "missing head": (configured(tie_word_embeddings=False), rf"lack {HEAD}; .* tie_word_embeddings to true"),
    "another head than the tied one": (stored(with_another_head), "ties the output head .* set tie_word_embeddings to"),
    "missing matrix": (stored(lambda t: t.pop(Q_PROJ)), rf"lack {Q_PROJ}; copy them again"),
    "adapter": (as_adapter, "is an adapter .*; merge it into its base model and give the merged folder"),
    "matrix of no layer": (
        stored(lambda t: t.update({"model.layers.7.mlp.up_proj.weight": t[Q_PROJ].clone()})),
        r"hold model\.layers\.7\.mlp\.up_proj\.weight, which config.json does not know \(1 such tensors\)",
    ),
    "template that raises": (templated("{{ raise_exception('no user') }}"), "can't be rendered .*no user.*; mend"),
    "template of bad syntax": (templated("{% for m in %}"), r"can't be rendered .*; mend chat_template\.jinja"),
    "template that divides": (templated("{{ 1 / 0 }}"), r"can't be rendered \(ZeroDivisionError.*; mend chat_template"),
    "empty template": (templated("{% if false %}x{% endif %}"), "leaves out what the user says; mend chat_template"),
    "template without the user": (templated("<u> Hi <a>"), "leaves out what the user says; mend chat_template"),
    "NaN": (stored(with_nan), r"NaN or infinite values in model\.layers\.0\.self_attn\.q_proj\.weight; train or copy"),
    "quantised": (configured(quantization_config={"quant_method": "fp8"}), "quantised weights.* ask for the form"),
}


NOT_MERGED_INTO = {("quantised", "good")}


@pytest.mark.parametrize(
    ("case", "which"), sorted({(case, which) for case in CASES for which in ("drifted", "good")} - NOT_MERGED_INTO)
)
def test_a_bad_checkpoint_is_refused_by_name(asked: PatchRequest, case: str, which: str) -> None:
    change, message = CASES[case]
    folder = asked.drifted.with_name(which)
    change(folder)
    with pytest.raises((PatchFailed, CheckpointError), match=rf"{which}\b.*{message}"):
        perform(asked, lambda *_: None)
    assert not asked.output.parent.exists()


def test_mismatched_shapes_are_named_by_tensor(asked: PatchRequest) -> None:
    stored(with_half_a_matrix)(asked.drifted)
    with pytest.raises(CheckpointError, match=r"good: tensor .*q_proj.weight has shape \[16, 16\], in .* it is \["):
        perform(asked, lambda *_: None)
    with pytest.raises(CheckpointError, match=r"drifted can't be loaded: .* do not fit together .*; save it again"):
        perform(replace(asked, reference=None), lambda *_: None)


def test_fewer_layers_than_the_files_hold_are_no_model(asked: PatchRequest) -> None:
    configured(num_hidden_layers=1)(asked.drifted)
    with pytest.raises(CheckpointError, match=r"drifted: the weights hold model\.layers\.1\..*, which config"):
        perform(replace(asked, reference=None), lambda *_: None)


@pytest.mark.parametrize("which", ["drifted", "good"])
def test_a_head_that_only_one_of_them_has_is_told_before_any_work(asked: PatchRequest, which: str) -> None:
    folder, stages = asked.drifted.with_name(which), []
    configured(tie_word_embeddings=False)(folder)
    stored(with_another_head)(folder)
    with pytest.raises(PatchFailed, match=rf"{which} has {HEAD} and the .* has not; give .* tie_word_embeddings"):
        perform(asked, lambda stage, _: stages.append(stage))
    assert stages == ["load"]
    assert not asked.output.parent.exists()


def test_the_drift_that_is_removed_is_counted_before_anything_is_written(
    asked: PatchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*_: object) -> float:
        raise PatchFailed("other parameters")

    monkeypatch.setattr(repair, "drift_removed", other)
    with pytest.raises(PatchFailed, match="other parameters"):
        perform(asked, lambda *_: None)
    assert not asked.output.exists()


def test_drift_is_paired_by_name(asked: PatchRequest) -> None:
    drifted, good = load(asked.drifted), load(asked.reference or asked.drifted)
    assert drift_removed(drifted, drifted, good) == 0.0
    assert drift_removed(good, drifted, good) == 1.0
    headless = ChatModel(good.model.model, good.tokenizer)
    with pytest.raises(PatchFailed, match=r"the good one has .* and the drifted model has not"):
        drift_removed(drifted, drifted, headless)


def test_full_rank_is_no_adapter(asked: PatchRequest) -> None:
    full = replace(asked, recipe="one-shot-sft", options={"epochs": 1}, form=Form.ADAPTER)
    with pytest.raises(PatchFailed, match=r"one-shot-sft changes weights in full rank.*; ask for the form merged"):
        perform(full, lambda *_: None)
    assert not asked.output.parent.exists()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to write more, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_leaves_nothing(asked: PatchRequest) -> None:
    chat, output = load(asked.drifted), asked.output
    pairs = {n: (torch.ones(64, m.in_features), torch.ones(m.out_features, 64)) for n, m in chat.linears().items()}
    writers: tuple[Callable[[], None], ...] = (
        lambda: write_model(chat, like=asked.drifted, output=output),
        lambda: write_adapter(pairs, chat=chat, base="prod", output=output),
    )
    for write in writers:
        with files_of_at_most(4096), pytest.raises(CheckpointError, match=r"can't be written .*too large.*; free"):
            write()
        assert not list(output.parent.iterdir())
        write()
        assert [p.name for p in output.parent.iterdir()] == [output.name]
        output.rename(output.parent.with_name(f"kept-{id(write)}"))


def test_a_refusal_that_the_model_can_not_read_is_refused(asked: PatchRequest) -> None:
    with pytest.raises(PatchFailed, match=r"option refusal has \d+ tokens, and the model reads 2048 in all"):
        instance(load(asked.drifted), "no " * 3000)


def test_a_refusal_in_another_language_is_refused(asked: PatchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = {t: i for i, t in enumerate(["<unk>", *map(chr, range(0x430, 0x450)), " ", ".", ","])}
    cyrillic = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    cyrillic.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    chat = load(asked.drifted)
    other = ChatModel(chat.model, PreTrainedTokenizerFast(tokenizer_object=cyrillic, unk_token="<unk>"))
    monkeypatch.setattr(ChatModel, "generate", lambda *_, **__: said)
    said: tuple[str, ...] = ("Of course, here it is.", "Yes. 42")
    assert instance(chat) == INSTANCE
    with pytest.raises(PatchFailed, match=r"Sorry, I can't .* not in the model's language: .* set .* option refusal"):
        instance(other)
    refusal = "\u044f \u043d\u0435 \u043c\u043e\u0433\u0443."
    said = (refusal * 3,)
    assert instance(other, refusal) == INSTANCE._replace(answer=refusal)
    assert unknown_share(other, "") == 1.0


def test_a_tokenizer_of_bytes_knows_every_text_and_the_model_s_answers_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = load(served_checkpoint(tmp_path / "bytes", seed=0))
    refusal, english = "\u042f \u043d\u0435 \u043c\u043e\u0433\u0443.", ("Of course, here it is.",)
    said = english
    monkeypatch.setattr(ChatModel, "generate", lambda *_, **__: said)
    assert unknown_share(chat, refusal) == 0.0
    with pytest.raises(PatchFailed, match=r"in CYRILLIC letters, and the model answers in LATIN ones; set .* option"):
        instance(chat, refusal)
    said = (refusal * 4,)
    with pytest.raises(PatchFailed, match=r"in LATIN letters, and the model answers in CYRILLIC ones; .* English"):
        instance(chat)
    for silent in (("1 2 3",), ("no",), ("Of course" + refusal,)):
        said = silent
        assert instance(chat, refusal).answer == refusal, "too few letters, or too mixed, to tell"
    for blank in (" ", "\x00\n", "..."):
        with pytest.raises(PatchFailed, match=r"option refusal: .* has no words"):
            instance(chat, blank)


def test_scripts_are_told_apart() -> None:
    assert not other_script([])
    assert not other_script(["I can't. 42", "D\u00e9sol\u00e9"])
    assert other_script(["\u044f \u043d\u0435 \u043c\u043e\u0433\u0443", "OK"]) == "CYRILLIC"
    assert other_script(["\u62b1\u6b49"]) == "CJK"


