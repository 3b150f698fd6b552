"""Keys of transcripts: keyed hashes of texts, and texts sealed in an envelope.

A secret is stretched once by scrypt (RFC 7914), so that a passphrase costs whoever guesses at it 16 MB and some 50 ms
a guess; each use then has a key of its own by HKDF-Expand with SHA-256 (RFC 5869, section 2.3). Hashes are HMAC-SHA256:
a plain hash of a short text is undone by hashing every likely text. Envelopes are AES-256-GCM (NIST SP 800-38D) under
a key for each day, so that random nonces of 96 bits stay well under the 2^32 messages that a key may seal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from probes.errors import AlteredTranscript, TranscriptError, UnknownKey

if TYPE_CHECKING:  # imported where it is used: whoever keeps hashes alone does not pay for it
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Keyring"]

_VERSION = "v1"
_SALT = b"alignd transcripts"
_NONCE_BYTES = 12


class Keyring:
    """A secret to write with and others to read with; nothing is derived before it is needed."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Take the secrets, of any length; the first one is written with. Without any, nothing can be opened."""
        self._secrets = tuple(secrets)
        self._keys: list[_Key] = []
        self._deriving = threading.Lock()

    def __repr__(self) -> str:
        """Show nothing of the secrets."""
        return f"Keyring({len(self._secrets)} keys)"

    @property
    def id(self) -> str:
        """Name of the key that is written with; says nothing about the secret."""
        return self._key(0).id

    def stretch(self) -> None:
        """Derive the key that is written with now: it takes 16 MB for a moment, once in a process."""
        self._key(0)

    def hash(self, text: str) -> str:
        """Return the hash of a text under the key that is written with, 64 hexadecimal digits."""
        return self._key(0).hash(text)

    def hashes(self, text: str) -> Mapping[str, str]:
        """Return the hash of a text under each key, by the key's id."""
        keys = [self._key(i) for i in range(len(self._secrets))]
        return {key.id: key.hash(text) for key in keys}

    def seal(self, words: bytes, *, day: str, bound: bytes) -> str:
        """Seal bytes in an envelope: ``v1.KEY ID.NONCE.CIPHERTEXT``, the last two in URL-safe base64 without padding.

        Args:
            day: Chooses the key; the same to open it.
            bound: What else has to be the same to open it.
        """
        key, nonce = self._key(0), os.urandom(_NONCE_BYTES)
        head = f"{_VERSION}.{key.id}."
        sealed = key.cipher(day).encrypt(nonce, words, head.encode() + bound)
        return f"{head}{_packed(nonce)}.{_packed(sealed)}"

    def open(self, envelope: str, *, day: str, bound: bytes) -> bytes:
        """Open an envelope.

        Raises:
            UnknownKey: It was sealed with a key that is not on this ring.
            AlteredTranscript: It, or what is bound to it, is not as it was sealed.
            TranscriptError: A later version of this program sealed it.
        """
        from cryptography.exceptions import InvalidTag

        version, _, rest = envelope.partition(".")
        key_id, _, rest = rest.partition(".")
        if version != _VERSION and version.startswith("v"):
            raise TranscriptError(f"envelope {version[:8]!r} is not known here; read it with the program that wrote it")
        key = self._find(key_id)
        try:
            nonce, sealed = map(_unpacked, rest.split("."))
            return key.cipher(day).decrypt(nonce, sealed, f"{version}.{key_id}.".encode() + bound)
        except (InvalidTag, ValueError) as error:
            raise AlteredTranscript("it was changed after it was sealed, or put in another's place") from error

    def _find(self, key_id: str) -> _Key:
        for i in range(len(self._secrets)):
            if self._key(i).id == key_id:
                return self._key(i)
        raise UnknownKey(key_id, at_hand=[self._key(i).id for i in range(len(self._secrets))])

    def _key(self, index: int) -> _Key:
        with self._deriving:
            while len(self._keys) <= index:
                self._keys.append(_Key(self._secrets[len(self._keys)]))
        return self._keys[index]


@lru_cache(maxsize=8)
def _stretched(secret: bytes) -> bytes:
    """Stretch a secret once in a process: hundreds of targets that did so, each for itself, took 16 MB a thread."""
    return hashlib.scrypt(secret, salt=_SALT, n=2**14, r=8, p=1, dklen=32)


class _Key:
    """What is derived from one secret."""

    def __init__(self, secret: bytes) -> None:
        self._root = _stretched(secret)
        self._hash = _expand(self._root, b"hash")
        self._cipher: tuple[str, AESGCM] | None = None
        self.id = _expand(self._root, b"id")[:4].hex()

    def hash(self, text: str) -> str:
        return hmac.digest(self._hash, text.encode("utf-8", "surrogatepass"), "sha256").hex()

    def cipher(self, day: str) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        held = self._cipher
        if held is None or held[0] != day:
            held = (day, AESGCM(_expand(self._root, b"seal " + day.encode())))
            self._cipher = held
        return held[1]


def _expand(key: bytes, label: bytes) -> bytes:
    """Derive a key of 32 bytes for one use: the first block of HKDF-Expand."""
    return hmac.digest(key, label + b"\x01", "sha256")


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unpacked(text: str) -> bytes:
    """Read what ``_packed`` wrote and no other spelling of it."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _packed(data) != text:
        raise ValueError("not as it was packed")
    return data
