"""Errors of the probes package.

ProbeError
├── SuiteError            a suite file can't be used: names the file, the row and the way out
├── AttackError           an attack's file or options can't be used: names the file and the way out
├── TargetError           one request to the target failed
│   ├── RetryableTargetError   5xx, 429, time-out, closed connection: ask again
│   ├── PermanentTargetError   401, 404, malformed answers: asking again won't help
│   └── HeldBack               the prober keeps itself from asking: paused, or a budget is used up
├── JudgeError            the judge gave no usable verdict (counted as unscored)
├── LabelError            a file of human labels can't be used: names the file, the line and the way out
├── PluginError           a plugin is not installed, or refuses its options
├── RecordError           a sweep's record can't be written, or holds another sweep
│   └── RecordLost            the disk is full or gone; what was put down before stays
├── MixedReleaseError     answers of two releases in one sweep; they never share an estimate
└── TranscriptError       transcripts can't be written, read or removed: names the file and the way out
    ├── UnknownKey            sealed with a key that is not at hand: names the key's id
    └── AlteredTranscript     changed after it was sealed
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AlteredTranscript",
    "AttackError",
    "HeldBack",
    "JudgeError",
    "LabelError",
    "MixedReleaseError",
    "PermanentTargetError",
    "PluginError",
    "ProbeError",
    "RecordError",
    "RecordLost",
    "RetryableTargetError",
    "SuiteError",
    "TargetError",
    "TranscriptError",
    "UnknownKey",
]


class ProbeError(Exception):
    """Root of the tree; never raised itself."""


class SuiteError(ProbeError):
    """A suite can't be read or does not hold what it claims."""


class AttackError(ProbeError):
    """An attack can't be made of its options, mostly because of a file that they name."""


class TargetError(ProbeError):
    """A request to the target failed.

    Attributes:
        reason: Stable short word for metrics and reports, e.g. ``timeout`` or ``http_404``.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        """Keep the reason beside the message."""
        super().__init__(message)
        self.reason = reason


class RetryableTargetError(TargetError):
    """May pass when asked again later.

    Attributes:
        retry_after_seconds: What the server asked for, else ``None``.
        waited_seconds: How long an answer was waited for in vain, else ``None``. Where a target says it, a sweep gives
            up a server that hangs after three such waits; else it asks on for longer.
    """

    def __init__(
        self, message: str, *, reason: str, retry_after_seconds: float | None = None,
        waited_seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Keep the delay that the server asked for, and the wait."""
        super().__init__(message, reason=reason)
        self.retry_after_seconds = retry_after_seconds
        self.waited_seconds = waited_seconds


class PermanentTargetError(TargetError):
    """Will not pass when asked again: the configuration or the server must change."""


class HeldBack(TargetError):
    """Nothing was asked, by the prober's own rules; what was not asked is left out, not missing.

    Attributes:
        reason: ``paused`` or ``budget``.
    """


class JudgeError(ProbeError):
    """The judge gave no usable verdict.

    Attributes:
        why: Stable word for ``Judgement.why``, e.g. ``judge_nonsense``.
    """

    def __init__(self, message: str = "", *, why: str = "judge_nonsense") -> None:
        """Keep the word beside the message."""
        super().__init__(message or why)
        self.why = why


class LabelError(ProbeError):
    """Human labels can't be read or do not hold what they must."""


class PluginError(ProbeError):
    """A plugin is not there or refuses its options."""


class RecordError(ProbeError):
    """A sweep's record can't be used."""


class RecordLost(RecordError):
    """The disk does not take another result."""


class MixedReleaseError(ProbeError):
    """The target answered with two releases within one sweep."""


class TranscriptError(ProbeError):
    """Transcripts can't be written, read or removed; the sweep itself is not affected."""


class UnknownKey(TranscriptError):
    """A transcript was sealed with a key that is not at hand.

    Attributes:
        key_id: Id of the key that it takes.
    """

    def __init__(self, key_id: str, *, at_hand: Sequence[str]) -> None:
        """Name the key that it takes and those there are."""
        super().__init__(
            f"it takes the key {key_id[:16]!r}, at hand is {', '.join(at_hand) or 'none'}; "
            "put that key under transcripts.old_keys or give it with --key-file"
        )
        self.key_id = key_id


class AlteredTranscript(TranscriptError):
    """A transcript was changed after it was sealed, or its envelope is another one's."""
