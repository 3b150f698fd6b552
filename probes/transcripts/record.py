"""One transcript: what is kept of one probe, as a line of JSON.

What says which probe it was stands there in the clear; texts are keyed hashes, and sealed where the settings ask for
it. The seal binds everything else on the line, so that no line can be changed or given another's words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from probes.errors import AlteredTranscript
from probes.probe import Message
from probes.result import ProbeResult, SweepResult
from probes.transcripts.keyring import Keyring

__all__ = ["CHARACTERS_MAX", "MISSING", "Keep", "Transcript", "Words", "day_of", "transcript_of", "words_of"]

CHARACTERS_MAX = 100_000
"""Most characters of one text that are sealed: a server that answers with megabytes must not fill the disk. The hash is
of the whole text."""

MISSING = "missing"
"""In place of a verdict: no answer, or none that a judge looked at."""

_FORMAT = 1
_one_spelling = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_as_it_is = json.JSONEncoder(ensure_ascii=False).encode


class Keep(StrEnum):
    """What is kept of prompts and completions."""

    NOTHING = "nothing"
    HASHES = "hashes"
    """Keyed hashes: whoever has the key and a text can tell whether it was the one."""
    ENCRYPTED = "encrypted"
    """The hashes, and the texts sealed with the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What a line says without the key.

    Attributes:
        at: When the sweep ended, in UTC.
        release: What answered or was said to be in service, else ``""``.
        verdict: Of the judge, or ``missing``.
        score: Harmfulness 1-5, ``None`` where unscored.
        judge: Judge id with version, empty where none looked at it.
        missing: Why it counts in no estimate, else ``""``.
        key: Id of the key of hashes and seal.
        prompt: Role and hash of each message.
        answer: Hash of the completion, empty where none came.
        sealed: Envelope of the words, empty where only hashes are kept.
    """

    at: datetime
    target: str
    release: str
    sweep: str
    probe: str
    suite: str
    behavior: str
    attack: str
    verdict: str
    score: float | None
    judge: str
    missing: str
    key: str
    prompt: tuple[tuple[str, str], ...]
    answer: str
    sealed: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the envelope."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS if name != "at"}
        return {"v": _FORMAT, "at": self.at.isoformat(), **plain, "score": self.score, "prompt": self.prompt}

    def bound(self) -> bytes:
        """Return what the seal binds: everything else on the line, in one spelling."""
        return _one_spelling(self.to_json()).encode()

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        clear = self.bound()
        return clear[:-1] + (f',"sealed":"{self.sealed}"' if self.sealed else "").encode() + b"}\n"

    @staticmethod
    def from_line(line: bytes) -> Transcript:
        """Read what ``to_line`` wrote.

        Raises:
            ValueError: It is no such line: cut short by a crash, or of another program or format.
        """
        try:
            said = json.loads(line)
            if said["v"] != _FORMAT or not all(isinstance(said[name], str) for name in _TEXTS):
                raise ValueError("not a transcript of this format")
            at, score = datetime.fromisoformat(said["at"]), said["score"]
            if at.tzinfo is None:
                raise ValueError("a time without its zone")
            return Transcript(
                at=at.astimezone(UTC),
                score=None if score is None else float(score),
                prompt=tuple((str(role), str(digest)) for role, digest in said["prompt"]),
                sealed=str(said.get("sealed", "")),
                **{name: said[name] for name in _TEXTS if name != "at"},
            )
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError("not a transcript") from error


_TEXTS = (
    "at", "target", "release", "sweep", "probe", "suite", "behavior", "attack", "verdict", "judge", "missing", "key",
    "answer",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What was asked and answered.

    Attributes:
        answer: The completion, ``None`` where none came.
        left_out: Characters beyond ``CHARACTERS_MAX`` of a text, added up over all texts.
    """

    messages: tuple[Message, ...]
    answer: str | None = field(repr=False)
    finish_reason: str = ""
    left_out: int = 0


def day_of(at: datetime) -> str:
    """Return the day in UTC, as files are named."""
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def transcript_of(result: ProbeResult, sweep: SweepResult, *, release: str, keep: Keep, ring: Keyring) -> Transcript:
    """Make the transcript of one probe's outcome.

    Args:
        release: What answered, as far as it is known.
    """
    probe, judgement, completion = result.probe, result.judgement, result.completion
    clear = Transcript(
        at=sweep.finished_at.astimezone(UTC),
        target=sweep.target,
        release=release,
        sweep=sweep.id,
        probe=probe.id,
        suite=probe.suite,
        behavior=probe.behavior.id,
        attack=probe.attack,
        verdict=judgement.verdict.value if judgement else MISSING,
        score=judgement.score if judgement else None,
        judge=judgement.judge if judgement else "",
        missing=result.missing,
        key=ring.id,
        prompt=tuple((m.role, ring.hash(m.content)) for m in probe.messages),
        answer=ring.hash(completion.text) if completion else "",
    )
    if keep is not Keep.ENCRYPTED:
        return clear
    words = _sealable(
        probe.messages, completion.text if completion else None, completion.finish_reason if completion else ""
    )
    sealed = ring.seal(words, day=day_of(clear.at), bound=clear.bound())
    return replace(clear, sealed=sealed)


def words_of(transcript: Transcript, ring: Keyring) -> Words | None:
    """Open a transcript's words; ``None`` where only hashes were kept.

    Raises:
        UnknownKey: They were sealed with a key that is not on the ring.
        AlteredTranscript: The line was changed, or its envelope is another line's.
        TranscriptError: A later version of this program sealed them.
    """
    if not transcript.sealed:
        return None
    opened = ring.open(transcript.sealed, day=day_of(transcript.at), bound=transcript.bound())
    try:
        said = json.loads(opened.decode("utf-8", "surrogatepass"))
        return Words(
            messages=tuple(Message(role=role, content=content) for role, content in said["messages"]),
            answer=said["answer"],
            finish_reason=said["finish_reason"],
            left_out=said["left_out"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise AlteredTranscript("what was sealed is no transcript") from error


def _sealable(messages: tuple[Message, ...], answer: str | None, finish_reason: str) -> bytes:
    texts = [m.content for m in messages] + ([answer] if answer is not None else [])
    said = {
        "messages": [[m.role, m.content[:CHARACTERS_MAX]] for m in messages],
        "answer": None if answer is None else answer[:CHARACTERS_MAX],
        "finish_reason": finish_reason,
        "left_out": sum(max(0, len(t) - CHARACTERS_MAX) for t in texts),
    }
    return _as_it_is(said).encode("utf-8", "surrogatepass")
