"""Checkpoints: whole or refused, content addressed, nothing half-written is ever there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy import checkpoint
from deploy.checkpoint import (
    check_checkpoint,
    find_release,
    import_checkpoint,
    list_releases,
    read_release,
    require_same_architecture,
    verify_release,
)
from deploy.errors import CheckpointError, DigestMismatch

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def write_checkpoint(folder: Path, *, data: bytes = b"\0" * 8, hidden: int = 4) -> Path:
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": hidden}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"w.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, len(data)]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "source")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_import_is_content_addressed_and_idempotent(source: Path, store: Path) -> None:
    first = import_checkpoint(source, store, name="m", created_at=NOW, parent="p@1", incident="i")
    again = import_checkpoint(source, store, name="m", created_at=NOW)
    assert first.id == again.id == f"m@{first.manifest.digest[:12]}"
    assert again.manifest.parent == "p@1"
    assert list_releases(store) == (read_release(first.path),)
    verify_release(find_release(store, first.id))


@pytest.mark.parametrize("harm", ["change", "add", "remove"])
def test_a_folder_changed_after_import_is_refused(source: Path, store: Path, harm: str) -> None:
    release = import_checkpoint(source, store, name="m", created_at=NOW)
    if harm == "change":
        (release.path / "config.json").write_text("{}")
    elif harm == "add":
        (release.path / "extra.py").write_text("")
    else:
        (release.path / "config.json").unlink()
    with pytest.raises(DigestMismatch, match=r"manifest"):
        verify_release(release)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        check_checkpoint(tmp_path / "nothing")


def test_pickle_is_refused(source: Path) -> None:
    (source / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="pickle"):
        check_checkpoint(source)


def test_links_are_refused(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="symbolic link"):
        check_checkpoint(source)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{", "config.json can't be read"),
        ("config.json", b"[" * 100_000, "config.json can't be read"),
        ("config.json", b"[]", "no object"),
        ("config.json", b"{}", "no architecture"),
        ("model.safetensors", b"", "cut or damaged"),
        ("model.safetensors", b"\xff" * 20, "cut or damaged"),
        ("model.safetensors", struct.pack("<Q", 2) + b"xx", "damaged safetensors header"),
        ("model.safetensors.index.json", b"{", "can't be read"),
        ("model.safetensors.index.json", b'{"weight_map": {"w": "a.safetensors"}}', "half written"),
        ("model.safetensors.index.json", b'{"weight_map": {"w": 3}}', "no file name"),
    ],
)
def test_damaged_files_are_named(source: Path, file: str, content: bytes, message: str) -> None:
    (source / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        check_checkpoint(source)


def test_weights_that_are_a_folder_are_none(source: Path) -> None:
    (source / "model.safetensors").unlink()
    (source / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        check_checkpoint(source)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_missing_files_are_named(source: Path, file: str) -> None:
    (source / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        check_checkpoint(source)


def test_half_written_weights_are_refused(source: Path) -> None:
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="half written"):
        check_checkpoint(source)


def test_a_full_disk_leaves_nothing(source: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(CheckpointError, match="No space left"):
        import_checkpoint(source, store, name="m", created_at=NOW)
    assert not list(store.iterdir())
    assert list_releases(store) == ()


def test_half_written_folders_are_no_releases(source: Path, store: Path) -> None:
    release = import_checkpoint(source, store, name="m", created_at=NOW)
    shutil.copytree(release.path, store / f".{release.id}.1234.partial")
    assert len(list_releases(store)) == 1
    with pytest.raises(CheckpointError):
        find_release(store, f".{release.id}.1234.partial")


def test_another_architecture_is_refused(source: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", hidden=8)
    require_same_architecture(source, source)
    with pytest.raises(CheckpointError, match="hidden_size"):
        require_same_architecture(source, other)


@pytest.mark.parametrize(
    "name", ["", "../x", "a@b", ".hidden", "a/b", "-x", "a\nb", "a\tb", "größe", "a\u202eb", "x" * 101, "x" * 5000]
)
def test_names_that_can_not_stand_everywhere_are_refused(source: Path, store: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="release name"):
        import_checkpoint(source, store, name=name, created_at=NOW)


@pytest.mark.parametrize("release", ["../x", "a/b", ".x", "none@0", "x" * 5000, "a\udc80@0", "a\0b"])
def test_ids_that_are_not_in_the_store_are_refused(store: Path, release: str) -> None:
    with pytest.raises(CheckpointError, match="not in"):
        find_release(store, release)


def test_a_long_name_is_a_release_like_any_other(source: Path, store: Path) -> None:
    release = import_checkpoint(source, store, name="x" * 100, created_at=NOW)
    assert list_releases(store) == (release,)


def test_a_manifest_further_down_is_a_file_like_any_other(source: Path, store: Path) -> None:
    (source / "deep").mkdir()
    (source / "deep" / checkpoint.MANIFEST).write_text("{}")
    release = import_checkpoint(source, store, name="m", created_at=NOW)
    assert f"deep/{checkpoint.MANIFEST}" in {f.path for f in release.manifest.files}
    verify_release(release)
    (release.path / "deep" / checkpoint.MANIFEST).write_text("{} ")
    with pytest.raises(DigestMismatch, match="deep"):
        verify_release(release)


@pytest.mark.parametrize("when", ["hashed", "copied"])
@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_file_that_becomes_a_link_after_the_check_is_not_followed(
    source: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, when: str, what: str
) -> None:
    (tmp_path / "secret").write_bytes((source / "config.json").read_bytes())

    def swapped() -> None:
        (source / "config.json").unlink()
        if what == "link":
            (source / "config.json").symlink_to(tmp_path / "secret")
        else:
            os.mkfifo(source / "config.json")

    look = checkpoint.content_digest if when == "copied" else checkpoint.check_checkpoint

    def then(*given: object) -> object:
        found = look(*given)  # type: ignore[arg-type]
        swapped()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, look.__name__, then)
        with pytest.raises(CheckpointError):
            import_checkpoint(source, store, name="m", created_at=NOW)
    assert not store.exists() or list(store.iterdir()) == []


def test_manifest_is_hidden_from_the_digest(source: Path, store: Path) -> None:
    release = import_checkpoint(source, store, name="m", created_at=NOW)
    assert checkpoint.MANIFEST not in {f.path for f in release.manifest.files}
    assert import_checkpoint(release.path, store, name="m", created_at=NOW).id == release.id


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("link", "symbolic link"), ("linked folder", "symbolic link"), ("pipe", "device, pipe or socket"),
        ("pickle", "holds pickle weights \\(deep/a.PT\\)"), ("manifest", "symbolic link"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", ["before the import", "after it"])
def test_what_is_no_plain_file_is_refused_at_import_and_at_each_use(
    tmp_path: Path, harm: str, message: str, when: str
) -> None:
    source, store = write_checkpoint(tmp_path / "source"), tmp_path / "store"
    folder = source
    if when == "after it":
        folder = import_checkpoint(source, store, name="m", created_at=NOW).path
    manifest = read_release(folder) if when == "after it" else None
    if harm == "link":
        (folder / "config.json").rename(tmp_path / "config.json")
        (folder / "config.json").symlink_to(tmp_path / "config.json")
    elif harm == "linked folder":
        (folder / "deep").symlink_to(tmp_path)
    elif harm == "pipe":
        os.mkfifo(folder / "pipe")
    elif harm == "pickle":
        (folder / "deep").mkdir()
        (folder / "deep" / "a.PT").write_bytes(b"")
    else:
        (folder / checkpoint.MANIFEST).unlink(missing_ok=True)
        (folder / checkpoint.MANIFEST).symlink_to(tmp_path / "m")
    with pytest.raises(CheckpointError, match=message):
        verify_release(manifest) if manifest else import_checkpoint(source, store, name="m", created_at=NOW)


def test_two_imports_at_once_come_to_one_release(source: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, others = shutil.copyfile, []

    def slow(a: Path, b: Path, **how: bool) -> None:
        if not others:
            others.append("")
            others.append(import_checkpoint(source, store, name="m", created_at=NOW).id)
        copy(a, b, **how)

    monkeypatch.setattr(shutil, "copyfile", slow)
    assert import_checkpoint(source, store, name="m", created_at=NOW).id == others[1]
    assert [p.name for p in store.iterdir()] == [others[1]]


def test_a_folder_that_poses_as_another_release_is_refused(source: Path, store: Path) -> None:
    release = import_checkpoint(source, store, name="m", created_at=NOW)
    release.path.rename(store / "good@000000000000")
    with pytest.raises(DigestMismatch, match="its manifest is that of 'm@"):
        find_release(store, "good@000000000000")
    (store / "good@000000000000").rename(store / "elsewhere")
    (store / release.id).symlink_to(store / "elsewhere")
    with pytest.raises(CheckpointError, match="symbolic link"):
        find_release(store, release.id)


def test_another_content_of_the_same_short_digest_is_refused(source: Path, store: Path) -> None:
    release = import_checkpoint(source, store, name="m", created_at=NOW)
    said = json.loads((release.path / checkpoint.MANIFEST).read_text())
    said["digest"] = said["digest"][:12] + "0" * 52
    (release.path / checkpoint.MANIFEST).write_text(json.dumps(said))
    with pytest.raises(DigestMismatch, match="another name"):
        import_checkpoint(source, store, name="m", created_at=NOW)
