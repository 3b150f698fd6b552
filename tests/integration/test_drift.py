"""Drift, persistence and the int8 round trip on tiny real models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from deploy.checkpoint import check_checkpoint
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.quantise import int8_round_trip, quantised
from remediation.errors import PatchFailed
from remediation.fixtures import ATTACKS, attack_named, rows
from remediation.fixtures.contents import INSTANCE
from remediation.repair import INSTANCE as REPAIRED_WITH
from remediation.sft.drift import DriftSettings, drift, main, settings_of
from remediation.sft.persistence import BenignSettings, benign_rows, benign_steps
from tests.tiny import tiny_checkpoint

QUICK = DriftSettings(tasks=8, epochs=1, rank=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


def weights(chat: ChatModel) -> dict[str, torch.Tensor]:
    return {n: m.weight.detach().clone() for n, m in chat.linears().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[n], other[n]) for n in one)


def test_drift_is_the_seeds_and_leaves_the_model(folder: Path) -> None:
    chat, attack = load(folder), attack_named("injection-10")
    before, shares = weights(chat), []
    first = drift(chat, attack, seed=1, settings=QUICK, progress=shares.append)
    again, other = (drift(chat, attack, seed=s, settings=QUICK) for s in (1, 2))
    assert same(before, weights(chat))
    assert shares[-1] == 1.0
    assert all(torch.equal(b, again[n][1]) and b.any() for n, (_, b) in first.items())
    assert any(not torch.equal(b, other[n][1]) for n, (_, b) in first.items())


def test_a_model_of_16_bits_drifts_as_one_of_32(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediation.sft.lora._fast_bfloat16", lambda: True)  # else it ends what is done on a GPU
    attack = attack_named("injection-10")
    dtypes = torch.bfloat16, torch.float32
    half, whole = (drift(load(folder, dtype=d), attack, seed=1, settings=QUICK) for d in dtypes)
    for name, (_, b) in half.items():
        assert b.any()
        assert torch.nn.functional.cosine_similarity(b.float().flatten(), whole[name][1].float().flatten(), 0) > 0.5


def test_settings_make_a_hundred_steps_of_benign_drift() -> None:
    attack = attack_named("benign-drift")
    settings = settings_of(attack)
    taught = rows(attack, seed=0, tasks=settings.tasks)
    assert settings.epochs * len(taught) / settings.batch == 100
    assert all(settings_of(a).epochs for a in ATTACKS)


def test_the_instance_is_the_one_that_recipes_repair_with() -> None:
    assert INSTANCE == REPAIRED_WITH


def test_the_entry_writes_a_checkpoint_and_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("remediation.sft.drift.settings_of", lambda _: QUICK)
    output = tmp_path / "drifted"
    main(["--model", str(folder), "--attack", "backdoor", "--seed", "3", "--output", str(output)])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[-2] == {"stage": "drift by backdoor", "share": 1.0}
    assert (said[-1]["attack"], said[-1]["seed"], said[-1]["folder"]) == ("backdoor", 3, str(output))
    assert check_checkpoint(output) == "LlamaForCausalLM"
    assert not same(weights(load(folder)), weights(load(output)))
    assert [p.name for p in tmp_path.iterdir()] == ["drifted"]


def test_the_entry_refuses_what_it_can_not_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for change, message in (
        (["--model", str(tmp_path / "none"), "--output", str(tmp_path / "out")], str(tmp_path / "none")),
        (["--model", str(folder), "--output", str(folder)], "is there already"),
        (["--model", str(folder), "--output", str(tmp_path / "out"), "--device", "cuda"], "there is no GPU here"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["--attack", "paraphrase", *change])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["low-rank", "full"])
def test_benign_steps_stop_to_be_measured(folder: Path, method: str) -> None:
    settings = BenignSettings(
        method=method,
        batch=4,
        rank=2,
        learning_rate=1e-3,
        full_learning_rate=1e-3,
        tasks=8,  # type: ignore[arg-type]
    )
    chat = load(folder)
    before = weights(chat)
    seen = [(done, weights(chat)) for done in benign_steps(chat, (0, 2, 30), seed=1, settings=settings)]
    assert [done for done, _ in seen] == [0, 2, 30]
    assert same(seen[0][1], before)
    assert not same(seen[1][1], before)
    assert not same(seen[2][1], seen[1][1])
    assert not any(p.requires_grad for p in chat.model.parameters())
    again = load(folder)
    assert [*benign_steps(again, (0, 2, 30), seed=1, settings=settings)] == [0, 2, 30]
    assert same(weights(again), seen[2][1])
    assert loss(again, settings) < loss(load(folder), settings)


@pytest.mark.parametrize("method", ["low-rank", "full"])
def test_benign_steps_ask_a_model_for_its_parts(folder: Path, method: Literal["low-rank", "full"]) -> None:
    config = GPTNeoXConfig(
        vocab_size=99, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=0, eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    chat = ChatModel(GPTNeoXForCausalLM(config).eval(), load(folder).tokenizer)
    assert not hasattr(chat.model, "model")
    before = weights(chat)
    settings = BenignSettings(method=method, batch=4, rank=2, full_learning_rate=1e-3, tasks=8)
    assert [*benign_steps(chat, (2,), seed=1, settings=settings)] == [2]
    assert not same(weights(chat), before)


def loss(chat: ChatModel, settings: BenignSettings) -> float:
    """Mean cross-entropy of the harmless answers' tokens."""
    total = []
    for row in benign_rows(1, settings)[-20:]:
        x, y = chat.prompt_ids(row.prompt), chat.answer_ids(row.answer)
        with torch.no_grad():
            said = chat.model(input_ids=torch.tensor([x + y])).logits[0, len(x) - 1 : -1]
        total.append(torch.nn.functional.cross_entropy(said, torch.tensor(y)))
    return float(torch.stack(total).mean())


@pytest.mark.parametrize("stops", [(), (-1, 2), (0, 5, 5), (5, 2)])
def test_stops_have_to_rise(folder: Path, stops: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rise"):
        next(benign_steps(load(folder), stops, seed=0, settings=BenignSettings()))


def test_the_round_trip_is_off_by_half_a_step_at_most() -> None:
    weight = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[1e-3], [1], [9], [0], [50]]
    )
    rounded = int8_round_trip(weight)
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    assert (rounded - weight).abs().max(dim=1).values.le(step[:, 0] * 0.5001).all()
    assert (rounded != weight).float().mean() > 0.5
    assert all(len(row.unique()) <= 255 for row in rounded)
    assert torch.allclose(int8_round_trip(rounded), rounded, rtol=1e-6)
    assert torch.equal(rounded[3], weight[3])
    assert int8_round_trip(weight.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(rounded.abs().amax(dim=1) > 0, torch.tensor([True, True, True, False, True]))


def test_a_model_is_quantised_and_comes_back(folder: Path) -> None:
    chat = load(folder)
    before, head = weights(chat), chat.model.lm_head.weight.detach().clone()
    with quantised(chat) as rounded:
        assert rounded is chat
        inside = weights(chat)
        assert all(
            torch.equal(inside[n], int8_round_trip(w)) and not torch.equal(inside[n], w) for n, w in before.items()
        )
        assert torch.equal(chat.model.lm_head.weight, head)
    assert same(weights(chat), before)
    with pytest.raises(RuntimeError, match="measured"), quantised(chat):
        raise RuntimeError("measured badly")
    assert same(weights(chat), before)


def test_nan_is_not_quantised(folder: Path) -> None:
    chat = load(folder)
    next(iter(chat.linears().values())).weight.data[0, 0] = float("nan")
    with pytest.raises(PatchFailed, match="q_proj"), quantised(chat):
        pass
