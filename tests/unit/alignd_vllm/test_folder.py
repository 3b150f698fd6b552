"""A copy holds what the manifest says or is not there; whatever could run code or lead elsewhere is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from alignd_vllm.errors import Reason, Refused
from alignd_vllm.folder import MANIFEST, copy_release, locate, read_manifest, verify
from deploy.checkpoint import Release
from tests.adapter_site import AdapterSite, write_adapter

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def site(tmp_path: Path) -> AdapterSite:
    return AdapterSite.make(tmp_path)


def copied(site: AdapterSite, source: Release, **other: str) -> Path:
    asked = {"release": source.id, "sha256": source.manifest.digest, "base": site.base.id, **other}
    copy_release(source.path, site.folder / "copies" / "x", **asked, rank_max=16)
    return site.folder / "copies" / "x"


def test_a_copy_is_the_release(site: AdapterSite) -> None:
    release = site.adapter("fix")
    copy = copied(site, release)
    verify(copy, release=release.id, sha256=release.manifest.digest)
    assert {p.name for p in copy.iterdir()} == {p.name for p in release.path.iterdir()}
    assert read_manifest(copy).id == release.id
    assert copy.stat().st_mode & 0o077 == 0


def bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def linked(folder: Path) -> None:
    shutil.copy(folder / WEIGHTS, folder.parent / "elsewhere")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


def claims(folder: Path) -> None:
    """A changed file whose digest the manifest was changed to state."""
    bit(folder)
    said = json.loads((folder / MANIFEST).read_text())
    for file in said["files"]:
        if file["path"] == WEIGHTS:
            file["sha256"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(said))


def leads_out(folder: Path) -> None:
    said = json.loads((folder / MANIFEST).read_text())
    said["files"][0]["path"] = "../../secret"
    (folder / MANIFEST).write_text(json.dumps(said))


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed bit": (bit, "was changed since the import"),
    "a missing file": (lambda f: (f / WEIGHTS).unlink(), "is missing"),
    "a file more": (lambda f: (f / "more.txt").write_text(""), "no part of the release"),
    "a pickle": (lambda f: (f / "adapter_model.bin").write_bytes(b""), "is a pickle"),
    "a link": (linked, "is a link or a device"),
    "a linked folder": (lambda f: (f / "more").symlink_to(f.parent), "is a link or a device"),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "is a link or a device"),
    "a manifest that lies": (claims, "states another digest than its files have"),
    "a manifest that leads out": (leads_out, "outside of the folder"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "can't be read as JSON"),
    "half a manifest": (lambda f: (f / MANIFEST).write_text('{"name": "x"}'), "is damaged"),
    "a list for a manifest": (lambda f: (f / MANIFEST).write_text("[]"), "is no JSON object"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_folder_that_was_tampered_with_is_refused(site: AdapterSite, harm: str) -> None:
    release = site.adapter("fix")
    do, message = HARM[harm]
    do(release.path)
    for call in (copied, lambda s, r: verify(r.path, release=r.id, sha256=r.manifest.digest)):
        with pytest.raises(Refused, match=message) as refused:
            call(site, release)
        assert refused.value.reason is Reason.CHECKPOINT
    assert not list((site.folder / "copies").iterdir()) if (site.folder / "copies").exists() else True


def test_an_adapter_that_is_not_for_this_server_is_refused(site: AdapterSite) -> None:
    release, high = site.adapter("fix"), site.adapter("high", rank=64)
    for asked, message in (
        ({"base": "other@0"}, "is an adapter for prod@.*; this server runs other@0"),
        ({"sha256": "0" * 64}, r"fix@.* \(0{12}\) was asked for"),
        ({"release": "fix@000000000000"}, "fix@000000000000 .* was asked for"),
    ):
        with pytest.raises(Refused, match=message):
            copied(site, release, **asked)
    with pytest.raises(Refused, match="has rank 64, the server takes up to 16; start vLLM with a higher"):
        copied(site, high)
    with pytest.raises(Refused, match="is an adapter for nothing: it is a full checkpoint"):
        copied(site, site.base)
    assert not list((site.folder / "copies").iterdir())


@pytest.mark.parametrize("key", ["use_dora", "modules_to_save", "bias"])
def test_what_vllm_does_not_serve_is_refused(site: AdapterSite, key: str) -> None:
    source = write_adapter(site.folder / "odd", fill=1)
    config = json.loads((source / "adapter_config.json").read_text())
    (source / "adapter_config.json").write_text(json.dumps({**config, key: "lora_only"}))
    release = released(site, source)
    with pytest.raises(Refused, match="is more than one plain LoRA rank"):
        copied(site, release)


def released(site: AdapterSite, source: Path) -> Release:
    """A release of a folder that ``import_adapter`` would not take."""
    from deploy.checkpoint import ReleaseKind, store_release
    from tests.adapter_site import NOW

    return store_release(
        source, site.store, name="odd", created_at=NOW, parent="", creator="x", incident="", architecture="x",
        kind=ReleaseKind.ADAPTER, base=site.base.id,
    )  # fmt: skip


def test_only_folders_of_the_store_are_found(site: AdapterSite) -> None:
    release, root = site.adapter("fix"), site.store.resolve()
    assert locate(str(release.path), root=root, release=release.id) == release.path
    outside = site.folder / release.id
    shutil.copytree(release.path, outside)
    (root / "deep").mkdir()
    shutil.copytree(release.path, root / "deep" / release.id)
    (root / "link@1").symlink_to(outside)
    for path, name in (
        (str(outside), release.id),
        (str(root / "deep" / release.id), release.id),
        (f"{root}/deep/../{release.id}", release.id),
        (f"{root}/../{release.id}", release.id),
        (release.id, release.id),
        (str(release.path), "other@1"),
        (str(root / "link@1"), "link@1"),
        (str(root / "gone@1"), "gone@1"),
        ("", ""),
        ("/", ""),
    ):
        with pytest.raises(Refused) as refused:
            locate(path, root=root, release=name)
        assert refused.value.reason is Reason.CHECKPOINT, path


def test_a_full_disk_leaves_nothing(site: AdapterSite, monkeypatch: pytest.MonkeyPatch) -> None:
    release = site.adapter("fix")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match=r"can't be copied to .*No space left") as refused:
        copied(site, release)
    assert (refused.value.reason, refused.value.status) == (Reason.DISK, 507)
    assert not list((site.folder / "copies").iterdir())


def test_the_digest_is_the_projects_own(site: AdapterSite) -> None:
    for release in (site.base, site.adapter("fix")):
        said = read_manifest(release.path)
        assert (said.id, said.digest, said.kind) == (release.id, release.manifest.digest, release.manifest.kind)
        assert said.files == {f.path: (f.sha256, f.size) for f in release.manifest.files}
