"""Signatures of releases, in the format of OpenSSF Model Signing (PyPI ``model-signing``), made with a private key.

A signature covers every file of a release, its manifest too, so that parent and creator can't be changed either. It
lies beside the releases, in ``.signatures/ID.sig``, for a release folder never changes.
"""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from deploy.checkpoint import Release, verify_release
from deploy.durable import new_file
from deploy.errors import CheckpointError, SignatureError

__all__ = ["sign_release", "signature_of", "verify_signature", "verify_signed"]

log = logging.getLogger("alignd")


def signature_of(store: Path, release: str) -> Path:
    """Return where a release's signature lies."""
    return store / ".signatures" / f"{release}.sig"


def sign_release(release: Release, private_key: Path, *, password: str | None = None) -> None:
    """Sign a release that is whole; an earlier signature is replaced.

    Args:
        private_key: PEM file of an elliptic curve key (P-256, P-384 or P-521).
        password: Of the key, where it has one.

    Raises:
        CheckpointError: The release is not what its manifest says, or the signature can't be written.
        SignatureError: The key can't be used.
    """
    verify_release(release)
    file = signature_of(release.path.parent, release.id)
    try:
        signer = _of("signing").use_elliptic_key_signer(private_key=private_key, password=password)
    except (OSError, ValueError, TypeError) as error:
        raise SignatureError(f"{private_key}: no usable private key ({error}); give a PEM file of an EC key") from error
    try:
        file.parent.mkdir(exist_ok=True)
        with new_file(file) as scratch:
            signer.set_hashing_config(_whole()).sign(release.path, scratch)
    except OSError as error:
        raise CheckpointError(f"{file}: can't be written ({error.strerror}); free disk or mend the rights") from error
    log.info("release_signed", extra={"release": release.id})


def verify_signature(release: Release, public_key: Path) -> None:
    """Look whether a release, as it lies there, was signed with the private key of this public one.

    Raises:
        SignatureError: It was not, or the key can't be used.
    """
    try:
        verifier = _of("verifying").use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError) as error:
        raise SignatureError(f"{public_key}: no usable public key ({error}); give a PEM file of an EC key") from error
    file = signature_of(release.path.parent, release.id)
    if not file.is_file() or file.is_symlink():
        raise SignatureError(f"release {release.id} is not signed; `alignd releases sign` signs it")
    invalid = import_module("cryptography.exceptions").InvalidSignature
    try:
        verifier.set_hashing_config(_whole()).verify(release.path, file)
    except (invalid, OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise SignatureError(
            f"release {release.id}: its signature is not one of {public_key} over these files "
            f"({type(error).__name__}); sign it with the right key, or import the checkpoint again"
        ) from error


def verify_signed(release: Release, *, public_key: Path) -> None:
    """Compare every file with the manifest, and the whole with its signature.

    Raises:
        CheckpointError: One of them does not fit.
    """
    verify_release(release)
    verify_signature(release, public_key)


def _whole() -> Any:  # noqa: ANN401  (the library is optional)
    """Hash every file, those of git too: what is not covered could be changed."""
    return _library("hashing").Config().set_ignored_paths(paths=(), ignore_git_paths=False)


def _of(part: str) -> Any:  # noqa: ANN401
    return _library(part).Config()


def _library(part: str) -> Any:  # noqa: ANN401
    try:
        return import_module(f"model_signing.{part}")
    except ImportError as error:
        raise SignatureError("signatures need the extra sign: pip install 'alignd[sign]'") from error
