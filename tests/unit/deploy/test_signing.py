"""Signatures of releases, with keys made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy import signing
from deploy.checkpoint import MANIFEST, Release, import_checkpoint, read_release, verify_release
from deploy.errors import CheckpointError, SignatureError
from deploy.signing import sign_release, signature_of, verify_signature, verify_signed
from tests.unit.deploy.test_checkpoint import NOW, write_checkpoint


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a key pair; return private and public file."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def release(tmp_path: Path) -> Release:
    pytest.importorskip("model_signing")
    return import_checkpoint(write_checkpoint(tmp_path / "s"), tmp_path / "store", name="m", created_at=NOW)


def test_what_was_signed_passes_and_the_folder_is_as_it_was(release: Release, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "k")
    with pytest.raises(SignatureError, match="is not signed; `alignd releases sign`"):
        verify_signed(release, public_key=public)
    sign_release(release, private)
    file = signature_of(tmp_path / "store", release.id)
    assert file.parent == tmp_path / "store" / ".signatures"
    verify_signed(release, public_key=public)
    sign_release(release, private)
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    verify_release(release)


def test_another_key_is_refused(release: Release, tmp_path: Path) -> None:
    sign_release(release, key_pair(tmp_path, "k")[0])
    with pytest.raises(SignatureError, match="its signature is not one of"):
        verify_signature(release, key_pair(tmp_path, "other")[1])


@pytest.mark.parametrize("what", ["manifest", "added", "weights", ".gitignore", "cut", "swapped", "link"])
def test_a_signature_covers_every_file_and_the_manifest(release: Release, tmp_path: Path, what: str) -> None:
    private, public = key_pair(tmp_path, "k")
    sign_release(release, private)
    file = signature_of(tmp_path / "store", release.id)
    if what == "manifest":
        said = json.loads((release.path / MANIFEST).read_text())
        (release.path / MANIFEST).write_text(json.dumps({**said, "parent": "somebody@elses"}))
        verify_release(read_release(release.path))
    elif what in {"added", ".gitignore"}:
        (release.path / what).write_text("x")
    elif what == "weights":
        (release.path / "model.safetensors").write_bytes(b"x")
    elif what == "cut":
        file.write_text(file.read_text()[:100])
    elif what == "swapped":
        other = import_checkpoint(
            write_checkpoint(tmp_path / "o", data=b"1" * 8), tmp_path / "store", name="o", created_at=NOW
        )
        sign_release(other, private)
        file.write_bytes(signature_of(tmp_path / "store", other.id).read_bytes())
    else:
        file.rename(tmp_path / "sig")
        file.symlink_to(tmp_path / "sig")
    with pytest.raises(CheckpointError):
        verify_signed(read_release(release.path), public_key=public)
    with pytest.raises(SignatureError):
        verify_signature(read_release(release.path), public)


def test_a_release_that_was_changed_is_not_signed(release: Release, tmp_path: Path) -> None:
    (release.path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="manifest"):
        sign_release(release, key_pair(tmp_path, "k")[0])
    assert not (tmp_path / "store" / ".signatures").exists()


@pytest.mark.parametrize("key", ["none", "text", "public"])
def test_a_key_that_can_not_be_used_is_named(release: Release, tmp_path: Path, key: str) -> None:
    (tmp_path / "text").write_text("x")
    public = key_pair(tmp_path, "k")[1]
    with pytest.raises(SignatureError, match="no usable private key"):
        sign_release(release, public if key == "public" else tmp_path / key)
    if key != "public":
        with pytest.raises(SignatureError, match="no usable public key"):
            verify_signature(release, tmp_path / key)


def test_without_the_extra_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(signing, "import_module", missing)
    release = import_checkpoint(write_checkpoint(tmp_path / "s"), tmp_path / "store", name="m", created_at=NOW)
    with pytest.raises(SignatureError, match=r"alignd\[sign\]"):
        sign_release(release, tmp_path / "k")
