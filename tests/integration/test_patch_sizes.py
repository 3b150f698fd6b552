"""How large a patch is: the projection of the published fine-tune, the controls, and the dose that is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from probes.refusal import is_refusal
from remediation.checkpoints.adapter import Adapter, read_adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.output import drift_removed
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons.dosing import fewest_answered
from remediation.patch import Form, PatchRequest
from remediation.recipes import one_shot_projected, one_shot_sft, one_shot_subspace
from remediation.recipes.control import Control, way_back
from remediation.recipes.control import Options as ControlOptions
from remediation.subspace.applied import applied
from remediation.subspace.capture import input_moments
from tests.architectures import tiny_model
from tests.tiny import REFUSAL, tiny_checkpoint


@pytest.fixture(scope="module")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "drifted")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "good", seed=1, refuses=True)


def request(drifted: Path, output: Path, reference: Path | None = None) -> PatchRequest:
    return PatchRequest(
        incident="i", recipe="r", drifted=drifted, reference=reference, output=output, seed=1, form=Form.ADAPTER
    )


def norms(adapter: Adapter) -> dict[str, float]:
    return {n: float((b.float() @ a.float()).norm()) for n, (a, b) in adapter.items()}


def test_the_projection_is_the_best_of_its_rank(drifted: Path, tmp_path: Path) -> None:
    options = one_shot_projected.Options(epochs=3, learning_rate=1e-3, rank=2)
    patch = one_shot_projected.make(options).patch(request(drifted, tmp_path / "patched"), lambda *_: None)
    before, tuned = load(drifted), load(drifted)
    one_shot_sft.published_fit(tuned, one_shot_sft.Options(epochs=3, learning_rate=1e-3), lambda *_: None)
    written = read_adapter(patch.checkpoint)
    energy = kept = 0.0
    for name, module in before.linears().items():
        change = (tuned.linears()[name].weight - module.weight).detach()
        s = torch.linalg.svdvals(change)
        a, b = written[name]
        missed = float((change - b.float() @ a.float()).norm())
        assert missed == pytest.approx(float(s[2:].norm()), rel=0.02), name
        energy, kept = energy + float(s.square().sum()), kept + float(s[:2].square().sum())
    assert patch.rank == 2
    assert patch.figures["energy_kept"] == pytest.approx(kept / energy, rel=1e-3)
    assert 0 < patch.figures["energy_kept"] < 1


def test_a_fine_tune_that_blew_up_is_refused(drifted: Path, tmp_path: Path) -> None:
    options = one_shot_projected.Options(epochs=3, learning_rate=1e30, rank=2)
    with pytest.raises(PatchFailed):
        one_shot_projected.make(options).patch(request(drifted, tmp_path / "patched"), lambda *_: None)


@pytest.mark.parametrize("name", ["random", "benign"])
def test_controls_are_as_large_as_the_way_back(
    drifted: Path, good: Path, tmp_path: Path, name: Literal["random", "benign"]
) -> None:
    control = Control(ControlOptions(rank=3), name)
    patch = control.patch(request(drifted, tmp_path / "patched", reference=good), lambda *_: None)
    like = way_back(load(drifted), load(good), rank=3, seed=1)
    made, meant = norms(read_adapter(patch.checkpoint)), norms(like)
    assert made.keys() == meant.keys()
    assert all(made[n] == pytest.approx(meant[n], rel=0.01) for n in meant)
    assert patch.drift_removed is not None
    assert patch.drift_removed < 0.2


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("name", ["random", "benign"])
def test_without_a_reference_controls_are_as_large_as_their_dose(
    drifted: Path, tmp_path: Path, name: Literal["random", "benign"]
) -> None:
    control = Control(ControlOptions(rank=3, dose=0.05), name)
    patch = control.patch(request(drifted, tmp_path / "patched"), lambda *_: None)
    made = norms(read_adapter(patch.checkpoint))
    for module, linear in load(drifted).linears().items():
        weight = linear.weight.detach()
        gain = float(weight.norm()) / min(weight.shape) ** 0.5
        assert made[module] == pytest.approx(0.05 * gain * 3**0.5, rel=0.01)
    assert patch.drift_removed is None


def test_a_target_that_is_kept_already_is_no_crash(good: Path, tmp_path: Path) -> None:
    patcher = one_shot_subspace.make(one_shot_subspace.Options(rank=2, loss_target=1000.0))
    with pytest.raises(PatchFailed, match="changed no module"):
        patcher.patch(request(good, tmp_path / "patched"), lambda *_: None)


PROMPTS = [f"request {i} of {'x' * i}" for i in range(12)]


def answered(chat: ChatModel) -> int:
    return sum(not is_refusal(a) for a in chat.generate(PROMPTS, max_tokens=12))


@pytest.fixture(scope="module")
def pair(good: Path) -> tuple[ChatModel, ChatModel, Adapter]:
    """A model that refuses, what it drifted to, and the change that takes all of that back.

    It refuses by the first coordinate of its last hidden state; the drift pushes that down along what the last
    matrix's inputs have in common, twice as far as it takes to make the model answer everything.
    """
    refusing, drifted = load(good), load(good)
    name, module = list(drifted.linears().items())[-1]
    moments = input_moments(drifted, [Row(p, REFUSAL) for p in PROMPTS])[name]
    common = torch.linalg.eigh(moments)[1][:, -1:].T  # (1, d_in)
    push = torch.zeros(module.out_features, 1)
    for size in (sign * 2.0**power for power in range(-2, 12) for sign in (1, -1)):
        push[0] = size
        with applied(drifted, {name: (common, push)}):
            if answered(drifted) == len(PROMPTS):
                break
    with torch.no_grad():
        module.weight.add_(2 * push @ common)
    return refusing, drifted, {name: (common, -2 * push)}


def test_the_dose_is_the_smallest_that_refuses_as_before(pair: tuple[ChatModel, ChatModel, Adapter]) -> None:
    good, drifted, change = pair
    allowed = answered(good)
    assert answered(drifted) > allowed, "the fixture has drifted"
    adapter, figures = fewest_answered(drifted, good, change, PROMPTS)
    assert figures["dose"] * 16 == int(figures["dose"] * 16)
    with applied(drifted, adapter):
        assert answered(drifted) <= allowed
    with applied(drifted, change, figures["dose"] - 1 / 16):
        assert answered(drifted) > allowed
    assert figures["dose_failed"] < figures["dose"]


def test_where_nothing_is_left_to_ask_the_change_is_left_whole(pair: tuple[ChatModel, ChatModel, Adapter]) -> None:
    good, drifted, change = pair
    adapter, figures = fewest_answered(drifted, good, change, [])
    assert figures == {"dose": 1.0}
    assert adapter == change


def test_drift_that_is_left_in_experts_is_not_called_removed() -> None:
    good, drifted, patched = (ChatModel(tiny_model("mixtral", seed=s), None) for s in (0, 1, 1))
    with torch.no_grad():
        for name, module in patched.linears().items():
            module.weight.copy_(good.linears()[name].weight)
    assert drift_removed(patched, drifted, good) < 0.9
