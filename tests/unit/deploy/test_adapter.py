"""Adapters: whole or refused, tied to the release that they were made for, never taken for a checkpoint."""

from __future__ import annotations

import json
import shutil
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.adapter import base_of, check_adapter, check_whole, import_adapter, used_rank
from deploy.checkpoint import (
    Release,
    ReleaseKind,
    check_checkpoint,
    import_checkpoint,
    list_releases,
    read_release,
    require_digest,
    require_same_architecture,
    verify_release,
)
from deploy.errors import CheckpointError, DigestMismatch
from remediation.form_testing import write_empty_adapter
from tests.unit.deploy.test_checkpoint import write_checkpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def base(tmp_path: Path, store: Path) -> Release:
    return import_checkpoint(write_checkpoint(tmp_path / "drifted"), store, name="m", created_at=NOW)


@pytest.fixture
def adapter(tmp_path: Path, base: Release) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_empty_adapter(folder, base.path)
    return folder


def imported(adapter: Path, store: Path, base: Release) -> Release:
    return import_adapter(adapter, store, name="p", base=base.id, created_at=NOW, creator="patch:x", incident="i")


def test_an_adapter_is_a_release_on_its_base(adapter: Path, store: Path, base: Release) -> None:
    release = imported(adapter, store, base)
    said = read_release(release.path).manifest
    assert (said.kind, said.base, said.parent) == (ReleaseKind.ADAPTER, base.id, base.id)
    assert (said.architecture, said.creator, said.incident) == ("LlamaForCausalLM", "patch:x", "i")
    assert release in list_releases(store)
    verify_release(release)
    assert imported(adapter, store, base).id == release.id
    (release.path / WEIGHTS).write_bytes(b"")
    with pytest.raises(DigestMismatch, match=WEIGHTS):
        verify_release(release)


def test_manifests_from_before_kinds_are_read(base: Release) -> None:
    file = base.path / "alignd-manifest.json"
    said = json.loads(file.read_text())
    assert (said.pop("kind"), said.pop("base")) == ("merged", "")
    file.write_text(json.dumps(said))
    assert read_release(base.path).manifest.kind is ReleaseKind.MERGED
    file.write_text(json.dumps({**said, "kind": "other"}))
    with pytest.raises(CheckpointError, match="no readable"):
        read_release(base.path)


def test_an_adapter_is_no_checkpoint(adapter: Path) -> None:
    with pytest.raises(CheckpointError, match=r"adapter: is an adapter .*; merge it into its base model"):
        check_checkpoint(adapter)


def test_a_base_must_be_there_and_be_a_checkpoint(adapter: Path, store: Path, base: Release) -> None:
    with pytest.raises(CheckpointError, match="release 'none@1' is not in"):
        import_adapter(adapter, store, name="p", base="none@1", created_at=NOW, creator="x")
    release = imported(adapter, store, base)
    with pytest.raises(CheckpointError, match="is an adapter itself; name the full checkpoint"):
        imported(adapter, store, release)


def test_an_adapter_for_other_weights_is_refused(adapter: Path, store: Path, base: Release) -> None:
    note = adapter / "alignd-patch.json"
    note.write_text(json.dumps({"parent_digest": base.manifest.digest}))
    imported(adapter, store, base)
    note.write_text(json.dumps({"parent_digest": "0" * 64}))
    with pytest.raises(DigestMismatch, match="had 000000000000"):
        imported(adapter, store, base)
    note.write_text("{")
    with pytest.raises(CheckpointError, match=r"alignd-patch.json can't be read; make the patch again"):
        imported(adapter, store, base)


def test_a_repair_of_an_adapter_names_it_and_stands_on_its_base(adapter: Path, store: Path, base: Release) -> None:
    drifted = imported(adapter, store, base)
    repaired = adapter.with_name("repaired")
    shutil.copytree(adapter, repaired)
    note = {"parent_digest": drifted.manifest.digest, "base_digest": base.manifest.digest}
    (repaired / "alignd-patch.json").write_text(json.dumps(note))

    def made() -> Release:
        return import_adapter(
            repaired, store, name="p", base=base.id, parent=drifted.id, created_at=NOW, creator="patch:x"
        )

    manifest = made().manifest
    assert (manifest.kind, manifest.base, manifest.parent) == (ReleaseKind.ADAPTER, base.id, drifted.id)
    (repaired / "alignd-patch.json").write_text(json.dumps({**note, "base_digest": "0" * 64}))
    with pytest.raises(DigestMismatch, match="had 000000000000"):
        made()


def test_a_model_is_a_checkpoint_or_an_adapter_beside_its_base(adapter: Path, store: Path, base: Release) -> None:
    assert check_whole(base.path) == base.path
    assert base_of(base.path) is None
    with pytest.raises(CheckpointError, match=r"is an adapter .*, no checkpoint; merge it"):
        check_whole(adapter)
    release = imported(adapter, store, base)
    assert check_whole(release.path) == base.path
    assert (found := base_of(release.path)) is not None
    assert found.id == base.id
    with (base.path / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(DigestMismatch, match=r"config.json is not what its manifest says"):
        check_whole(release.path)
    link = release.path.parent.with_name("current")
    link.symlink_to(release.path)
    assert (linked := base_of(link)) is not None
    assert linked.id == base.id
    shutil.rmtree(base.path)
    with pytest.raises(CheckpointError, match=f"release '{base.id}' is not in"):
        check_whole(release.path)


@pytest.mark.parametrize("wrong", [5, None, "../other", "", "p@000000000000"])
def test_a_base_that_is_no_release_is_refused(wrong: object, adapter: Path, store: Path, base: Release) -> None:
    release = imported(adapter, store, base)
    file = release.path / "alignd-manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base": wrong}))
    with pytest.raises(CheckpointError, match=r"no readable|is not in"):
        base_of(release.path)


def change(**values: object) -> dict[str, bytes]:
    config = {
        "base_model_name_or_path": "m", "lora_alpha": 1, "peft_type": "LORA", "r": 1, "target_modules": ["w"], **values
    }  # fmt: skip
    return {CONFIG: json.dumps(config).encode()}


def tensors(shapes: dict[str, list[int]]) -> dict[str, bytes]:
    said, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        said[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(said).encode()
    return {WEIGHTS: struct.pack("<Q", len(header)) + header + bytes(end)}


def test_zeros_that_fill_a_servers_room_are_no_rank(adapter: Path) -> None:
    assert used_rank(adapter) == 0
    for name, content in {**change(r=3, lora_alpha=3), **tensors({A: [3, 1], B: [2, 3]})}.items():
        (adapter / name).write_bytes(content)
    values = struct.pack("<9f", 0.5, 0.0, -1.0, *[1.0] * 6)
    (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[: -len(values)] + values)
    assert used_rank(adapter) == 2
    (adapter / CONFIG).unlink()
    with pytest.raises(CheckpointError):
        used_rank(adapter)


A, B = "base_model.model.w.lora_A.weight", "base_model.model.w.lora_B.weight"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({CONFIG: b"{"}, "adapter_config.json can't be read"),
        ({CONFIG: b"[]"}, "no object"),
        ({CONFIG: b"{}"}, "asks for more than one plain LoRA rank"),
        (change(use_dora=True), "use_dora.*merge it into its base"),
        (change(bias="all"), "merge it into its base"),
        (change(r="1"), "names no rank"),
        (change(r=2), "w has rank 1, adapter_config.json says 2"),
        ({"adapter_model.bin": b"x"}, "pickle weights .adapter_model.bin"),
        ({WEIGHTS: b"x"}, "cut or damaged"),
        (tensors({A: [1, 1]}), "w lacks a half of its pair"),
        (tensors({A: [1, 1], B: [2, 1], "w": [1, 1]}), "tensor w is no part of a LoRA pair"),
        (tensors({}), "holds no LoRA pair"),
        (tensors({A: [1, 1], B: [3, 1]}), r"changes w by \[3, 1\], in .* it is \[2, 1\]; give the checkpoint"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    adapter: Path, store: Path, base: Release, files: dict[str, bytes], message: str
) -> None:
    for name, content in files.items():
        (adapter / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        imported(adapter, store, base)
    assert [r.id for r in list_releases(store)] == [base.id]


def test_missing_files_and_links_are_named(adapter: Path, tmp_path: Path) -> None:
    weights = adapter / WEIGHTS
    weights.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"no adapter_model.safetensors; save the adapter as safetensors"):
        check_adapter(adapter)
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="symbolic link"):
        check_adapter(adapter)
    with pytest.raises(CheckpointError, match=r"no adapter_config.json; give the folder of a PEFT adapter"):
        check_adapter(write_checkpoint(tmp_path / "full"))


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    first, second = (write_checkpoint(tmp_path / name) for name in ("first", "second"))
    weights = second / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"[2, 1]", b"[1, 2]"))
    with pytest.raises(CheckpointError, match=r"second: tensor w.weight has shape \[1, 2\], in .*first it is \[2, 1\]"):
        require_same_architecture(first, second)


def test_a_checkpoint_that_changed_since_is_refused(base: Release) -> None:
    require_digest(base.path, base.manifest.digest, since="when it was imported")
    (base.path / "config.json").write_text("{}")
    with pytest.raises(DigestMismatch, match=r"when it was imported it had .*: abort the repair, or put"):
        require_digest(base.path, base.manifest.digest, since="when it was imported")
