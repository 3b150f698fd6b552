"""Keyed hashes and sealed envelopes."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import AlteredTranscript, TranscriptError, UnknownKey
from probes.transcripts import keyring
from probes.transcripts.keyring import Keyring
from tests.unit.probes.transcripts.sweeps import ELSEWHERE, OTHER, RING, SECRET

ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""Lone surrogates too: a server's JSON may hold them."""


@settings(deadline=None)
@given(st.binary(), st.binary())
def test_what_is_sealed_comes_back(words: bytes, bound: bytes) -> None:
    assert RING.open(RING.seal(words, day="2026-11-25", bound=bound), day="2026-11-25", bound=bound) == words


@settings(deadline=None)
@given(st.binary(max_size=40), st.data())
def test_any_changed_byte_is_noticed(words: bytes, data: st.DataObject) -> None:
    sealed = RING.seal(words, day="d", bound=b"line").encode()
    at = data.draw(st.integers(0, len(sealed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != sealed[at]))
    changed = (sealed[:at] + bytes([byte]) + sealed[at + 1 :]).decode("latin-1")
    with pytest.raises(TranscriptError):
        RING.open(changed, day="d", bound=b"line")


@settings(deadline=None)
@given(st.text())
def test_whatever_stands_in_the_envelope_s_place_is_refused(text: str) -> None:
    with pytest.raises(TranscriptError):
        RING.open(text, day="d", bound=b"")
    with pytest.raises(TranscriptError):
        RING.open(f"v1.{RING.id}.{text}", day="d", bound=b"")


@pytest.mark.parametrize(("day", "bound"), [("d2", b"line"), ("d", b"another line")])
def test_an_envelope_belongs_to_its_day_and_line(day: str, bound: bytes) -> None:
    with pytest.raises(AlteredTranscript):
        RING.open(RING.seal(b"words", day="d", bound=b"line"), day=day, bound=bound)


def test_old_keys_read_and_new_ones_write() -> None:
    sealed = RING.seal(b"words", day="d", bound=b"")
    rotated = Keyring([OTHER, SECRET])
    assert rotated.open(sealed, day="d", bound=b"") == b"words"
    assert rotated.id != RING.id
    assert rotated.seal(b"words", day="d", bound=b"").split(".")[1] == rotated.id
    assert rotated.hashes("x") == {rotated.id: rotated.hash("x"), RING.id: RING.hash("x")}


def test_a_wrong_key_is_told_by_its_id() -> None:
    with pytest.raises(UnknownKey, match=f"takes the key '{RING.id}', at hand is {ELSEWHERE.id}") as caught:
        ELSEWHERE.open(RING.seal(b"words", day="d", bound=b""), day="d", bound=b"")
    assert caught.value.key_id == RING.id
    with pytest.raises(UnknownKey, match="at hand is none"):
        Keyring([]).open(RING.seal(b"words", day="d", bound=b""), day="d", bound=b"")


def test_a_later_version_is_not_called_altered() -> None:
    with pytest.raises(TranscriptError, match="'v2' is not known here") as caught:
        RING.open(RING.seal(b"words", day="d", bound=b"").replace("v1.", "v2."), day="d", bound=b"")
    assert not isinstance(caught.value, AlteredTranscript)


def test_the_same_text_is_never_sealed_alike() -> None:
    assert len({RING.seal(b"words", day="d", bound=b"") for _ in range(50)}) == 50


@settings(deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_hashes_tell_texts_apart_and_take_any_text(one: str, other: str) -> None:
    assert (RING.hash(one) == RING.hash(other)) == (one == other)
    assert RING.hash(one) != ELSEWHERE.hash(one)
    assert RING.hash(one) != hashlib.sha256(one.encode("utf-8", "surrogatepass")).hexdigest()


def test_each_use_has_a_key_of_its_own_by_hkdf() -> None:
    assert keyring._expand(b"k" * 32, b"label") == HKDFExpand(SHA256(), 32, b"label").derive(b"k" * 32)
    assert len({keyring._expand(b"k" * 32, label) for label in (b"id", b"hash", b"seal 1", b"seal 2")}) == 4


def test_nothing_shows_the_secret() -> None:
    assert SECRET.decode() not in repr(RING)


def test_a_secret_is_stretched_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = b"stretched once and for all"
    Keyring([secret]).stretch()
    monkeypatch.delattr("hashlib.scrypt")
    assert len(Keyring([secret]).id) == 8
