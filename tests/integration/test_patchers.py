"""Every built-in recipe keeps its port, on tiny real models."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from remediation.errors import PatchFailed
from remediation.patch import PatchRequest
from remediation.testing import check_patcher
from remediation.worker import make_patcher
from tests.tiny import tiny_checkpoint

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "benign": {"rank": 2},
    "few-shot-subspace": {"rank": 2, "steps": 1, "examples": 2},
    "kept-subspace": {"rank": 2, "steps": 2, "examples": 2, "harmless": 3},
    "low-rank-sft": {"rank": 2, "epochs": 1, "refusals": 2, "harmless": 2},
    "one-shot-projected": {"epochs": 1, "learning_rate": 1e-3, "rank": 2},
    "one-shot-sft": {"epochs": 1, "learning_rate": 1e-3},
    "one-shot-subspace": {"rank": 2, "steps": 1},
    "random": {"rank": 2},
    "restore-subspace": {"rank": 2, "refusals": 2, "harmless": 2},
    "restore-tuned": {"rank": 2, "refusals": 2, "harmless": 2},
}
"""Small doses: the checks are of what is written, not of what it is good for."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A drifted model, one that refuses, and the drifted one with a damaged weight."""
    folder = tmp_path_factory.mktemp("tiny")
    damaged = tiny_checkpoint(folder / "damaged")
    tensors = load_file(damaged / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    return tiny_checkpoint(folder / "drifted"), tiny_checkpoint(folder / "good", seed=1, refuses=True), damaged


@pytest.mark.parametrize("recipe", sorted(e.name for e in entry_points(group="alignd.patchers")))
def test_recipes_keep_their_port(models: tuple[Path, Path, Path], tmp_path: Path, recipe: str) -> None:
    drifted, good, damaged = models

    def request(folder: Path, name: str) -> PatchRequest:
        return PatchRequest(
            incident="i", recipe=recipe, drifted=folder, reference=good, output=tmp_path / name, seed=1
        )

    patcher = make_patcher(recipe, OPTIONS[recipe])
    check_patcher(patcher, request(drifted, "patched"), hopeless=request(damaged, "not-made"))


def test_options_that_a_recipe_does_not_take_are_named_in_plain_words() -> None:
    with pytest.raises(PatchFailed) as refused:
        make_patcher("restore-tuned", {"refusal": "No."})
    said = str(refused.value)
    assert said.startswith("recipe restore-tuned refuses its options: no option 'refusal'; there are: ")
    assert "http" not in said
    assert len(said.splitlines()) == 1
