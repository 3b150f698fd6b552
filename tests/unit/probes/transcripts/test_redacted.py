"""What may be said of texts without saying them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from probes.result import ProbeResult
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import CHARACTERS_MAX, Keep, Transcript, transcript_of
from probes.transcripts.redacted import Redacted, Texts, redacted
from tests.unit.probes.transcripts.sweeps import ELSEWHERE, RING, result, swept


def kept(found: ProbeResult, *, keep: Keep = Keep.ENCRYPTED, ring: Keyring = RING) -> Transcript:
    return transcript_of(found, swept(found), release="r", keep=keep, ring=ring)


def test_an_answer_has_its_length_and_nothing_of_its_words() -> None:
    found = redacted(kept(result(prompt="the prompt", answer="Sure, here is how.")), RING)
    assert found == Redacted(texts=Texts.SEALED, answer=18, finish_reason="stop")
    assert not any(word in repr(found) for word in ("prompt", "Sure", "how"))


def test_no_answer_has_no_length() -> None:
    assert redacted(kept(result(answer=None)), RING) == Redacted(texts=Texts.SEALED)


def test_what_was_too_long_is_said_to_be() -> None:
    found = redacted(kept(result(answer="a" * (CHARACTERS_MAX + 7))), RING)
    assert (found.answer, found.left_out) == (CHARACTERS_MAX, 7)


def test_a_servers_word_for_why_it_ended_can_not_be_a_text() -> None:
    one = result()
    assert one.completion
    said = replace(one, completion=replace(one.completion, finish_reason="Sure, here is how."))
    assert redacted(kept(said), RING).finish_reason == "other"


def test_hashes_alone_have_no_length() -> None:
    assert redacted(kept(result(), keep=Keep.HASHES), RING) == Redacted(texts=Texts.HASHED)


def test_a_missing_key_and_a_changed_line_are_told_apart() -> None:
    sealed = kept(result())
    assert redacted(sealed, ELSEWHERE) == Redacted(texts=Texts.KEY_MISSING)
    assert redacted(sealed, Keyring([])) == Redacted(texts=Texts.KEY_MISSING)
    for changed in (replace(sealed, verdict="harmful"), replace(sealed, sealed=sealed.sealed[:-2] + "AA")):
        assert redacted(changed, RING) == Redacted(texts=Texts.ALTERED)


@pytest.mark.parametrize("version", ["v2", "v17"])
def test_a_later_format_is_named(version: str) -> None:
    sealed = kept(result())
    later = replace(sealed, sealed=sealed.sealed.replace("v1.", f"{version}.", 1))
    assert redacted(later, RING) == Redacted(texts=Texts.UNKNOWN_FORMAT)
