"""One line for each probe, bound to its words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from probes.errors import AlteredTranscript, TranscriptError
from probes.judge import Verdict
from probes.probe import Message
from probes.transcripts.record import CHARACTERS_MAX, Keep, Transcript, Words, transcript_of, words_of
from tests.unit.probes.transcripts.sweeps import NOW, RING, result, swept
from tests.unit.probes.transcripts.test_keyring import ANY_TEXT


def kept(number: int = 0, *, keep: Keep = Keep.ENCRYPTED, prompt: str = "p", answer: str | None = "a") -> Transcript:
    found = result(number, prompt=prompt, answer=answer, verdict=Verdict.HARMFUL)
    return transcript_of(found, swept(found), release="r@0123456789ab", keep=keep, ring=RING)


@settings(deadline=None)
@given(ANY_TEXT, st.none() | ANY_TEXT)
def test_any_text_comes_back(prompt: str, answer: str | None) -> None:
    line = kept(prompt=prompt, answer=answer).to_line()
    assert line.count(b"\n") == 1
    words = words_of(Transcript.from_line(line), RING)
    messages = (Message(role="system", content="be kind"), Message(role="user", content=prompt))
    assert words == Words(messages=messages, answer=answer, finish_reason="" if answer is None else "stop")


@pytest.mark.parametrize("keep", [Keep.HASHES, Keep.ENCRYPTED])
def test_a_line_says_which_probe_and_no_text(keep: Keep) -> None:
    made = kept(keep=keep, prompt="the whole prompt", answer="the whole answer")
    assert Transcript.from_line(made.to_line()) == made
    for text in ("the whole prompt", "the whole answer", "be kind"):
        assert text.encode() not in made.to_line()
        assert text not in repr(made)
    assert (made.at, made.target, made.sweep, made.probe) == (NOW, "prod", "routine-1", "routine-1/0000")
    assert (made.suite, made.behavior, made.attack, made.release) == ("harm", "b0", "direct", "r@0123456789ab")
    assert (made.verdict, made.score, made.judge, made.missing) == ("harmful", 1.0, "j/1", "")
    assert made.prompt == (("system", RING.hash("be kind")), ("user", RING.hash("the whole prompt")))
    assert made.answer == RING.hash("the whole answer")
    assert bool(made.sealed) == (keep is Keep.ENCRYPTED)


def test_a_probe_without_an_answer_is_missing() -> None:
    made = kept(answer=None)
    assert (made.verdict, made.missing, made.answer, made.score) == ("missing", "timeout", "", None)


def test_hashes_alone_have_no_words() -> None:
    assert words_of(kept(keep=Keep.HASHES), RING) is None


@settings(deadline=None)
@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    made = kept()
    line = made.to_line()
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != line[at]))
    try:
        changed = Transcript.from_line(line[:at] + bytes([byte]) + line[at + 1 :])
    except ValueError:
        return
    assume(changed != made)
    if changed.sealed:
        with pytest.raises(TranscriptError):
            words_of(changed, RING)


def test_swapped_envelopes_are_noticed() -> None:
    one, other = kept(1), kept(2)
    with pytest.raises(AlteredTranscript):
        words_of(replace(one, sealed=other.sealed), RING)


@pytest.mark.parametrize(
    "change", [{"verdict": "safe"}, {"score": 5.0}, {"release": "x"}, {"behavior": "x"}, {"at": NOW.replace(hour=13)}]
)
def test_what_stands_in_the_clear_can_not_be_changed_either(change: dict[str, object]) -> None:
    with pytest.raises(AlteredTranscript):
        words_of(replace(kept(), **change), RING)  # type: ignore[arg-type]


def test_megabytes_are_cut_and_said_to_be() -> None:
    long = "a" * (CHARACTERS_MAX + 7)
    made = kept(answer=long)
    words = words_of(made, RING)
    assert words
    assert words.answer == long[:CHARACTERS_MAX]
    assert words.left_out == 7
    assert made.answer == RING.hash(long), "the hash is of the whole"


@settings(deadline=None)
@given(st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_what_is_no_transcript_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (any message)
        Transcript.from_line(line)


@settings(deadline=None)
@given(st.data())
def test_a_transcript_with_odd_values_is_read_or_refused(data: st.DataObject) -> None:
    said = json.loads(kept().to_line())
    name = data.draw(st.sampled_from(sorted(said)))
    odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=3)
    dates = st.sampled_from(["2026-11-25T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    said[name] = data.draw(odd | dates | st.just(10**400))
    try:
        read = Transcript.from_line(json.dumps(said).encode())
    except ValueError:
        return
    if read != kept() and read.sealed and said[name] != json.loads(kept().to_line())[name]:
        with pytest.raises(TranscriptError):
            words_of(read, RING)
