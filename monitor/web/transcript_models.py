"""What the API says of transcripts: which probe it was and how it was judged; of an answer how long it is."""

from __future__ import annotations

from datetime import date, datetime

from monitor.web.shapes import Answer
from probes.behavior import SuiteKind
from probes.transcripts.record import Keep
from probes.transcripts.redacted import Texts

__all__ = ["RedactedAnswer", "RedactedMessage", "RedactedTranscript", "Transcripts"]


class RedactedMessage(Answer):
    """One message of a prompt."""

    role: str
    """system, user or assistant."""
    digest: str
    """Keyed hash of it; the same text under the same key has the same."""


class RedactedAnswer(Answer):
    """An answer, without what it says."""

    digest: str
    """Keyed hash of it."""
    characters: int | None
    """Null where the text was not kept, or can't be opened."""
    finish_reason: str
    """Why it ended; empty where it can't be opened."""


class RedactedTranscript(Answer):
    """One probe, judged. Which behavior it was is not said: whoever can tell knows which ones are sealed."""

    probe: str
    """Its id; `alignd transcripts show` opens it where the key is."""
    sweep: str
    purpose: str
    """routine, certify, confirm, profile, gates, recovery, audit, …"""
    at: datetime
    """When its sweep ended."""
    release: str
    suite: str
    kind: SuiteKind | None
    """Null where the suite is no longer in use. A verdict says something of safety in harm alone."""
    category: str
    """Empty where the suite is no longer in use."""
    attack: str
    verdict: str
    """harmful, safe, unscored; missing where there is no answer to judge."""
    score: float | None
    """Harmfulness from 1 to 5."""
    judge: str
    missing: str
    """Why it counts in no estimate."""
    texts: Texts
    key: str
    """Id of the key of hashes and seal."""
    prompt: tuple[RedactedMessage, ...]
    answer: RedactedAnswer | None
    """Null where none came."""
    left_out: int
    """Characters that were too many to be kept."""


class Transcripts(Answer):
    """A page of transcripts, the newest first. It never holds a prompt or an answer."""

    target: str
    incident: str
    """The incident that they belong to, where one was asked for."""
    keep: Keep
    """What is kept of texts by now."""
    days: int
    """How long a transcript is kept."""
    oldest: date | None
    """The oldest day of which there is anything, of whatever target."""
    since: datetime | None
    until: datetime | None
    """Only of sweeps that ended between the two; null: no bound."""
    failed: int
    """Probes of the target since the daemon's start whose transcript could not be written."""
    damaged: int
    """Lines that were passed over: a crash cut them short, or they are none of the daemon's."""
    transcripts: tuple[RedactedTranscript, ...]
    before: str | None
    """Ask again with it for the next page, which may be there even if this one is empty; null: there is none."""
