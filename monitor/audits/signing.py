"""Signatures of audits: Ed25519 over the manifest's bytes, as openssl checks them. Imported late, for its size."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from monitor.errors import ConfigError

__all__ = ["good_signature", "new_key", "public_key_of", "sign"]


def new_key(path: Path) -> str:
    """Make a key, its owner's alone, and return the public half as PEM.

    Raises:
        ConfigError: The file is there already, or can't be written.
    """
    key = Ed25519PrivateKey.generate()
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; what it signed could not be told from a forgery") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be written ({error.strerror}); give another place") from error
    with os.fdopen(opened, "wb") as out:
        out.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        out.flush()
        os.fsync(opened)
    return _public(key)


def public_key_of(path: Path) -> str:
    """Return the public half of a key as PEM.

    Raises:
        ConfigError: There is no Ed25519 key without a password.
    """
    return _public(_private(path))


def sign(content: bytes, path: Path) -> bytes:
    """Sign with a key: 64 bytes.

    Raises:
        ConfigError: As for ``public_key_of``.
    """
    return _private(path).sign(content)


def good_signature(content: bytes, signature: bytes, public: bytes) -> bool:
    """Whether a signature is of this content, by this public key (PEM).

    Raises:
        ConfigError: That is no public Ed25519 key.
    """
    try:
        key = load_pem_public_key(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError("no public key in PEM; `alignd audit key` prints the one to check with") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("the public key is not an Ed25519 one; `alignd audit key` prints the one to check with")
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        found = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"audits.private_key: {path} can't be read ({error.strerror}); check the path") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"audits.private_key: {path} is no PEM key without a password; `alignd audit key` makes one"
        ) from error
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(f"audits.private_key: {path} is not an Ed25519 key; `alignd audit key` makes one")
    return found


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


if __name__ == "__main__":
    try:
        public_key_of(Path(sys.argv[1]))
    except ConfigError as error:
        sys.exit(str(error))
