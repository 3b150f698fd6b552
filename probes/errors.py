"""Errors of the probes package.

ProbeError
├── SuiteError            a suite file can't be used: names the file, the row and the way out
├── TargetError           one request to the target failed
│   ├── RetryableTargetError   5xx, 429, time-out, closed connection: ask again
│   └── PermanentTargetError   401, 404, malformed answers: asking again won't help
├── JudgeError            the judge gave no usable verdict (counted as unscored)
├── LabelError            a file of human labels can't be used: names the file, the line and the way out
├── PluginError           a plugin is not installed, or refuses its options
└── MixedReleaseError     answers of two releases in one sweep; they never share an estimate
"""

from __future__ import annotations

__all__ = [
    "JudgeError",
    "LabelError",
    "MixedReleaseError",
    "PermanentTargetError",
    "PluginError",
    "ProbeError",
    "RetryableTargetError",
    "SuiteError",
    "TargetError",
]


class ProbeError(Exception):
    """Root of the tree; never raised itself."""


class SuiteError(ProbeError):
    """A suite can't be read or does not hold what it claims."""


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
    """

    def __init__(self, message: str, *, reason: str, retry_after_seconds: float | None = None) -> None:
        """Keep the delay that the server asked for."""
        super().__init__(message, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class PermanentTargetError(TargetError):
    """Will not pass when asked again: the configuration or the server must change."""


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


class MixedReleaseError(ProbeError):
    """The target answered with two releases within one sweep."""
