"""Transcripts as they may be shown to whoever may not read the texts: how long an answer was, never what it said.

How long a prompt was is not said: of a published suite that tells which prompt it was, and so which ones are sealed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from probes.errors import AlteredTranscript, TranscriptError, UnknownKey
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Transcript, words_of

__all__ = ["Redacted", "Texts", "redacted"]

_REASONS = frozenset({"", "stop", "length", "content_filter", "tool_calls", "function_call", "abort", "error"})
"""Why an answer may have ended. A server can write a text there, too, so that no other word is shown."""


class Texts(StrEnum):
    """What there is of a transcript's texts."""

    HASHED = "hashed"
    """Keyed hashes alone were kept."""
    SEALED = "sealed"
    """They are sealed, are as they were written, and the key at hand opens them."""
    KEY_MISSING = "key_missing"
    """They are sealed with a key that is not at hand."""
    ALTERED = "altered"
    """The line was changed after it was sealed: nothing on it is to be believed."""
    UNKNOWN_FORMAT = "unknown_format"
    """A later version of this program sealed them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """What may be said of a transcript's texts.

    Attributes:
        answer: Characters of the answer; ``None`` where there is none, or it can't be opened.
        finish_reason: Why the answer ended: a word of the protocol, ``other`` for any other; empty where it can't be
            opened.
        left_out: Characters beyond what is kept of one text, over all of them.
    """

    texts: Texts
    answer: int | None = None
    finish_reason: str = ""
    left_out: int = 0


def redacted(transcript: Transcript, ring: Keyring) -> Redacted:
    """Open a transcript and say only how long its answer is, and how it ended."""
    try:
        words = words_of(transcript, ring)
    except UnknownKey:
        return Redacted(texts=Texts.KEY_MISSING)
    except AlteredTranscript:
        return Redacted(texts=Texts.ALTERED)
    except TranscriptError:
        return Redacted(texts=Texts.UNKNOWN_FORMAT)
    if words is None:
        return Redacted(texts=Texts.HASHED)
    return Redacted(
        texts=Texts.SEALED, answer=None if words.answer is None else len(words.answer),
        finish_reason=words.finish_reason if words.finish_reason in _REASONS else "other", left_out=words.left_out,
    )  # fmt: skip
