"""Port: a channel that tells people what happened, and the nouns it exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

__all__ = ["SCHEMA", "Kind", "Notification", "Notifier", "Severity"]

SCHEMA = 1
"""Version of ``Notification.to_json``; raised where a reader of the one before would misunderstand the next."""


class Severity(StrEnum):
    """How much it matters, the least first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place in the order."""
        return list(Severity).index(self)


class Kind(StrEnum):
    """What is told."""

    INCIDENT_OPENED = "incident_opened"
    """A breach; it is about to be confirmed on fresh prompts."""
    CONTAINED = "contained"
    """The breach is confirmed, and users were seen to as the settings say."""
    APPROVAL_WAITING = "approval_waiting"
    """A verified candidate waits for a person's word."""
    ACTION_NEEDED = "action_needed"
    """Only a person can go on."""
    HELD = "held"
    """A rail holds the next step back; it goes on by itself when none stands any more."""
    RECOVERED = "recovered"
    DISMISSED = "dismissed"
    ESCALATED = "escalated"
    JUDGE_FROZEN = "judge_frozen"
    """The judge drifted: nothing is decided by its word until a person accepts it again."""
    TARGET_UNREACHABLE = "target_unreachable"
    """No usable answer for long: nobody knows what the target serves."""
    DEPLOYMENT_MISMATCH = "deployment_mismatch"
    """A server was found to hold other weights than it should."""
    TEST = "test"
    """Sent by ``alignd notify test``; goes to any channel."""
    DIGEST = "digest"
    """Many at once, in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a channel tells. Figures and names only: never a prompt, a completion or a secret.

    Attributes:
        id: The same whenever this is sent again; a receiver that has seen it may pass over it.
        target: Empty where it is about no single one.
        title: One line.
        text: A few sentences.
        release: Release that it is about, empty where it is about none.
        incident: Its id, empty where there is none.
        state: State of the incident, empty where there is none.
        url: Page to look at, empty where the settings name none.
        resolved: What an earlier one told of is over.
        parts: What a digest is made of, the oldest first.
        count: Notifications that it stands for; ``parts`` may be fewer.
    """

    id: str
    kind: Kind
    severity: Severity
    at: datetime
    title: str
    text: str
    target: str = ""
    release: str = ""
    incident: str = ""
    state: str = ""
    url: str = ""
    resolved: bool = False
    parts: tuple[Notification, ...] = ()
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the body of a webhook."""
        plain: dict[str, Any] = {
            "schema": SCHEMA, "id": self.id, "kind": self.kind.value, "severity": self.severity.value,
            "at": self.at.isoformat(), "title": self.title, "text": self.text, "target": self.target,
            "release": self.release, "incident": self.incident, "state": self.state, "url": self.url,
            "resolved": self.resolved,
        }  # fmt: skip
        if self.kind is Kind.DIGEST:
            plain |= {"count": self.count, "parts": [p.to_json() for p in self.parts]}
        return plain

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Notification:
        """Rebuild what ``to_json`` wrote."""
        given = {k: v for k, v in data.items() if k != "schema"}
        return Notification(
            **{
                **given, "kind": Kind(data["kind"]), "severity": Severity(data["severity"]),
                "at": datetime.fromisoformat(data["at"]),
                "parts": tuple(Notification.from_json(p) for p in data.get("parts", ())),
            }
        )  # fmt: skip


class Notifier(Protocol):
    """One channel."""

    async def send(self, notification: Notification) -> None:
        """Hand a notification over; once it returns, the other side has it.

        Raises:
            NotSent: It did not get there; may pass when tried again.
            NotificationRefused: The other side will never take this one.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
