"""What an update of a sketch does with checkpoints that are not sound, and where memory or disk run out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from deploy.errors import CheckpointError
from remediation.errors import PatchFailed, SketchError
from remediation.living_subspace import UpdateRequest, read_summary
from remediation.subspace import living, sketch_store
from remediation.subspace.living import update
from remediation.subspace.sketch_store import read_sketch
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> UpdateRequest:
    folder = tmp_path_factory.mktemp("sketch")
    model = tiny_checkpoint(folder / "model", hidden=64)
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    first = UpdateRequest(model=model, sketch=folder / "sketch", at=at, categories=("malware",), per_category=2, rank=4)
    update(first, quiet)
    return first


@pytest.fixture
def request_(made: UpdateRequest, tmp_path: Path) -> UpdateRequest:
    """An update of a copy of the sketch."""
    return replace(made, sketch=shutil.copytree(made.sketch, tmp_path / "sketch"))


def quiet(stage: str, share: float) -> None:
    assert 0.0 <= share <= 1.0


def changed_weights(model: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, to)
    weights = load_file(to / "model.safetensors")
    change(weights)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_a_checkpoint_that_is_not_sound_is_refused(request_: UpdateRequest, tmp_path: Path) -> None:
    def narrow(weights: dict[str, torch.Tensor]) -> None:
        weights["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 64)

    def other_head(weights: dict[str, torch.Tensor]) -> None:
        weights["lm_head.weight"] = torch.ones(99, 64)

    broken = changed_weights(request_.model, tmp_path / "narrow", narrow)
    with pytest.raises(CheckpointError, match="do not fit together"):
        update(replace(request_, model=broken), quiet)
    tied = changed_weights(request_.model, tmp_path / "tied", other_head)
    with pytest.raises(CheckpointError, match="ties the output head"):
        update(replace(request_, model=tied), quiet)
    silent = shutil.copytree(request_.model, tmp_path / "silent")
    (silent / "tokenizer.json").unlink()
    with pytest.raises((CheckpointError, PatchFailed), match="the checkpoint"):
        update(replace(request_, model=silent), quiet)
    assert len(read_summary(request_.sketch).updates) == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes")])
def test_memory_that_runs_out_is_told(
    request_: UpdateRequest, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(living, "load_sound", full)
    with pytest.raises(SketchError, match=r"memory ran out; its weights in float32 need .* GiB"):
        update(request_, quiet)
    monkeypatch.setattr(living, "load_sound", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        update(request_, quiet)


@pytest.mark.parametrize("writes", [0, 1])
def test_a_full_disk_leaves_the_folder_as_it_was(
    request_: UpdateRequest, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    summary, sketches = read_sketch(request_.sketch) or pytest.fail("no sketch")
    before = sorted(p.name for p in request_.sketch.iterdir())
    synced: list[int] = []

    def full(number: int) -> None:
        synced.append(number)
        if len(synced) > 2 * writes:  # the file's and the folder's
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SketchError, match=r"No space left on device.*as it was"):
        sketch_store.write_sketch(
            request_.sketch, sketches, identity=summary.identity, rank=4, sketched=summary.sketched,
            modules=summary.modules, updates=(*summary.updates, *summary.updates),
        )  # fmt: skip
    assert sorted(p.name for p in request_.sketch.iterdir()) == before


def test_weights_that_give_no_gradient_are_named(request_: UpdateRequest, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(request_.model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights = {n: torch.zeros_like(w) for n, w in weights.items()}
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SketchError, match="gives no direction"):
        update(replace(request_, model=broken), quiet)
