"""The audit log: who did what to what, each entry sealed by a hash over itself and the one before. Pure.

Whoever can write to the database can also seal it anew from an entry on; an auditor who kept the newest hash elsewhere
finds that, and a log that was cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "BEFORE_ALL", "DAEMON", "NOBODYS", "SIGNED", "STRANGER", "AuditEntry", "SealedEntry", "Verdict", "canonical",
    "sealed", "verify",
]  # fmt: skip

DAEMON = "alignd"
"""The actor of what the daemon does by itself."""
STRANGER, SIGNED = "anonymous", "signed-webhook"
"""The actors of calls without a token, and of deliveries that a signature vouches for."""
NOBODYS = frozenset({DAEMON, STRANGER, SIGNED})
"""Actors that no token may be named like."""
BEFORE_ALL = "0" * 64
"""What the first entry follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that somebody did, or that the daemon did by itself.

    Attributes:
        actor: A person's name, a token's name, or ``DAEMON``.
        action: What was done, in snake case; the names are stable API.
        subject: To what: an incident, a target, a release.
        details: Plain values. Never prompts, completions or secrets.
    """

    at: datetime
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEntry:
    """An entry as it is kept: the texts that the hash goes over.

    Attributes:
        seq: Its place, from 1, without gaps.
        at: Time in UTC, ISO 8601 with microseconds.
        details: Canonical JSON.
        previous: The hash of the entry before.
        hash: SHA-256 over the canonical JSON of all the other fields, in hexadecimal.
    """

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    details: str
    previous: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the details as an object."""
        return {**{k: getattr(self, k) for k in self.__slots__}, "details": json.loads(self.details)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a look at the whole log came to.

    Attributes:
        entries: How many are intact, from the first on.
        head: The hash of the last of these.
        why: What is broken and where; empty where all is intact.
    """

    entries: int
    head: str
    why: str

    @property
    def intact(self) -> bool:
        """Whether nothing is broken."""
        return not self.why

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"intact": self.intact, **asdict(self)}


def canonical(value: object) -> str:
    """Write plain values in the one form that is hashed: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: One is no plain value.
        ValueError: A number is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sealed(entry: AuditEntry, *, seq: int, previous: str) -> SealedEntry:
    """Put an entry behind the one whose hash is ``previous``."""
    texts = {
        "seq": seq, "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"), "actor": _kept(entry.actor),
        "action": _kept(entry.action), "subject": _kept(entry.subject), "details": _kept(canonical(entry.details)),
        "previous": previous,
    }  # fmt: skip
    return SealedEntry(**texts, hash=_hash(texts))  # type: ignore[arg-type]


def verify(log: Iterable[SealedEntry], *, head: str = "") -> Verdict:
    """Read a log from its first entry to its last.

    Args:
        head: A hash that was kept elsewhere: an entry with it must still be there.
    """
    entries, last, seen = 0, BEFORE_ALL, not head
    for entry in log:
        if why := _broken(entry, seq=entries + 1, previous=last):
            return Verdict(entries=entries, head=last, why=why)
        entries, last = entry.seq, entry.hash
        seen = seen or last == head
    why = "" if seen else (
        f"no entry has the hash {head}: entries were removed from the end, or the log was written anew"
    )  # fmt: skip
    return Verdict(entries=entries, head=last, why=why)


def _broken(entry: SealedEntry, *, seq: int, previous: str) -> str:
    if entry.seq != seq:
        return f"entry {seq} is not there: entry {entry.seq} comes in its place"
    if entry.previous != previous:
        return f"entry {seq} ({entry.action}) does not follow the entry before: one of the two was put there later"
    if entry.hash != _hash({k: getattr(entry, k) for k in entry.__slots__ if k != "hash"}):
        return f"entry {seq} ({entry.action}) was changed: its hash is not that of what it says"
    return ""


def _kept(text: str) -> str:
    """Make a text one that every database gives back as it is: without NUL and half surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _hash(texts: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical(texts).encode("utf-8", "replace")).hexdigest()
