"""Repairs of a model that is an adapter on a checkpoint: one more adapter for the same base, which holds both."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from deploy.adapter import PATCH_NOTE, check_adapter, full_checkpoint, import_adapter
from deploy.checkpoint import Release, import_checkpoint
from deploy.errors import CheckpointError, DigestMismatch
from remediation.checkpoints.adapter import Adapter, rank_of, rounded, write_adapter
from remediation.checkpoints.chat import ChatModel, load
from remediation.checkpoints.layered import carried, stacked
from remediation.checkpoints.sound import load_sound
from remediation.errors import PatchFailed
from remediation.fixtures import Row
from remediation.lessons import answers
from remediation.lessons.screen import pool
from remediation.patch import Form, Patch, PatchRequest
from remediation.worker import perform
from tests.integration.test_adapter import random_adapter
from tests.tiny import tiny_checkpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECIPE = "restore-subspace"


def tuned_on(base: Release, name: str, *, rank: int) -> Release:
    """A fine-tune of the attention alone, as customers' adapters are."""
    chat = load(base.path)
    change = {n: ab for n, ab in random_adapter(chat, rank).items() if n.endswith(("q_proj", "v_proj"))}
    made = base.path.parent.with_name("made") / name
    write_adapter(rounded(change, torch.bfloat16), chat=chat, base=base.id, output=made)
    return import_adapter(made, base.path.parent, name=name, base=base.id, created_at=NOW, creator="import")


@pytest.fixture(autouse=True)
def _refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model this small refuses what is harmful and answers the rest."""
    harmful = {b.prompt for b in pool("dsafe")}

    def said(_: object, prompts: list[str], *__: object, **___: object) -> list[Row]:
        return [Row(p, "I can't help" if p in harmful else "Sure", whole=False) for p in prompts]

    monkeypatch.setattr(answers, "answers", said)


@pytest.fixture
def base(tmp_path: Path) -> Release:
    source = tiny_checkpoint(tmp_path / "source")
    return import_checkpoint(source, tmp_path / "store", name="base", created_at=NOW)


@pytest.fixture
def tuned(base: Release) -> Release:
    return tuned_on(base, "tuned", rank=8)


@pytest.fixture
def request_(base: Release, tuned: Release, tmp_path: Path) -> PatchRequest:
    return PatchRequest(
        incident="i", recipe=RECIPE, drifted=tuned.path, reference=base.path, output=tmp_path / "patched", seed=1,
        form=Form.ADAPTER, parent_digest=tuned.manifest.digest, reference_digest=base.manifest.digest,
        options={"rank": 4, "refusals": 6, "harmless": 6},
    )  # fmt: skip


def made(request: PatchRequest) -> Patch:
    return perform(request, lambda *_: None)


def repaired(patch: Patch, tuned: Release) -> Release:
    return import_adapter(
        patch.checkpoint, tuned.path.parent, name="fix", base=tuned.manifest.base, parent=tuned.id, created_at=NOW,
        creator="patch",
    )  # fmt: skip


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return found


def weights(chat: ChatModel) -> dict[str, torch.Tensor]:
    return {n: p.detach() for n, p in chat.model.named_parameters()}


def test_an_adapter_is_repaired_by_one_for_the_same_base(request_: PatchRequest, base: Release, tuned: Release) -> None:
    patch = made(request_)
    assert patch.drift_removed is not None
    assert patch.drift_removed > 0.3
    said = check_adapter(patch.checkpoint)
    assert (said.base, said.rank, said.scale) == (base.id, 16, 1), "8 and 4 rows, in the room that vLLM has"
    note = json.loads((patch.checkpoint / PATCH_NOTE).read_text())
    assert (note["parent"], note["parent_digest"]) == (tuned.id, tuned.manifest.digest)
    assert (note["base"], note["base_digest"]) == (base.id, base.manifest.digest)
    release = repaired(patch, tuned)
    served = PeftModel.from_pretrained(load(base.path).model, str(release.path))
    assert torch.allclose(logits(served), logits(load_sound(release.path, "it").model), atol=1e-4)


def test_merged_and_adapter_are_one_patch(request_: PatchRequest, tuned: Release) -> None:
    layered = weights(load_sound(repaired(made(request_), tuned).path, "it"))
    output = request_.output.with_name("merged")
    merged = weights(load(made(replace(request_, form=Form.MERGED, output=output)).checkpoint))
    before = weights(load_sound(tuned.path, "it"))
    assert any(not torch.equal(merged[n], before[n]) for n in merged)
    for name, weight in merged.items():
        assert torch.allclose(weight, layered[name], rtol=2**-7, atol=1e-5 * float(weight.abs().max())), name


def test_the_way_back_may_lead_to_another_adapter(request_: PatchRequest, base: Release) -> None:
    other = tuned_on(base, "other", rank=1)
    patch = made(replace(request_, reference=other.path, reference_digest=other.manifest.digest))
    assert patch.drift_removed is not None
    assert patch.drift_removed > 0.3


def test_what_does_not_fit_is_refused_and_nothing_is_written(
    request_: PatchRequest, base: Release, tuned: Release
) -> None:
    with pytest.raises(PatchFailed, match="changes weights in full rank, which no adapter holds"):
        made(replace(request_, recipe="one-shot-sft", options={}))
    with pytest.raises(DigestMismatch, match="when the incident began it had 000000000000"):
        made(replace(request_, parent_digest="0" * 64))
    loose = tuned.path.parent.with_name("made") / "tuned"
    with pytest.raises(CheckpointError, match=r"is an adapter .*, no checkpoint; merge it"):
        made(replace(request_, drifted=loose, parent_digest=""))
    with (base.path / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(DigestMismatch, match=f"release {base.id}: config.json is not what its manifest says"):
        made(request_)
    assert not request_.output.exists()


def test_a_repair_of_a_repair_keeps_no_room(request_: PatchRequest, tuned: Release) -> None:
    once = repaired(made(request_), tuned)
    assert check_adapter(once.path).rank == 16
    assert rank_of(carried(once.path)) == 12
    again = made(replace(request_, drifted=once.path, parent_digest=once.manifest.digest,
                         output=request_.output.with_name("again")))  # fmt: skip
    assert check_adapter(again.checkpoint).rank == 16, "8 and 4 and 4"


def test_stacking_adds(base: Release, tuned: Release) -> None:
    chat = load(base.path)
    one, other = carried(tuned.path), rounded(random_adapter(chat, 3), torch.float32)
    assert one.keys() < other.keys()
    both = stacked(one, other)
    assert rank_of(both) == 11

    def change(adapter: Adapter, name: str) -> torch.Tensor:
        a, b = adapter[name]
        return b.float() @ a.float()

    for name in other:
        wanted = change(other, name) + (change(one, name) if name in one else 0)
        assert torch.allclose(change(both, name), wanted, atol=1e-5)
    assert stacked({}, other) == other
    assert carried(base.path) == {}
    assert full_checkpoint(base.path) == full_checkpoint(tuned.path) == base.path
