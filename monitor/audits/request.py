"""What an audit is asked to do. Written down before its first probe, so that a killed one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from monitor.audit import DAEMON

__all__ = ["AuditRequest", "Period", "audit_id"]


def audit_id(target: str, began_at: datetime) -> str:
    """Return an audit's name."""
    return f"{target}-{began_at:%Y%m%d-%H%M%S}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The time that an audit tells of.

    Attributes:
        begin: Its first moment; aware.
        end: The first moment after it.
    """

    begin: datetime
    end: datetime

    def holds(self, at: datetime) -> bool:
        """Whether a moment lies in it."""
        return self.begin <= at < self.end

    def to_json(self) -> dict[str, str]:
        """Return plain values; times as ISO 8601."""
        return {"from": self.begin.isoformat(), "to": self.end.isoformat()}

    @staticmethod
    def from_json(data: Mapping[str, str]) -> Period:
        """Rebuild what ``to_json`` wrote."""
        return Period(begin=datetime.fromisoformat(data["from"]), end=datetime.fromisoformat(data["to"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """One audit that was asked for.

    Attributes:
        id: Its name: target and moment.
        suites: Further names or files of suites in place of the target's own; empty for these.
        seed: Decides which attack dresses which prompt, and each probe's own seed. Audits of one seed ask the same.
        before: Audit or release to hold the figures against; empty for none.
        period: What was asked for; ``None`` lets the audit tell of the time since the one before it.
        by: Who asked.
        scheduled: Name of the schedule that asked; empty where a person did.
    """

    id: str
    target: str
    began_at: datetime
    suites: tuple[str, ...] = ()
    seed: int = 0
    before: str = ""
    period: Period | None = None
    scheduled: str = ""
    by: str = DAEMON

    @property
    def asked(self) -> tuple[object, ...]:
        """Everything that must be the same where an audit that was killed goes on."""
        return self.target, self.suites, self.seed, self.before, self.period, self.scheduled

    def anew(self, now: datetime) -> AuditRequest:
        """Return a request that asks the same from the beginning, under a name of its own: names count seconds."""
        began_at = max(now, self.began_at + timedelta(seconds=1))
        return replace(self, id=audit_id(self.target, began_at), began_at=began_at)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "id": self.id, "target": self.target, "began_at": self.began_at.isoformat(), "suites": list(self.suites),
            "seed": self.seed, "before": self.before, "period": self.period.to_json() if self.period else None,
            "scheduled": self.scheduled, "by": self.by,
        }  # fmt: skip

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> AuditRequest:
        """Rebuild what ``to_json`` wrote."""
        period = Period.from_json(data["period"]) if data["period"] else None
        return AuditRequest(
            **{
                **data, "began_at": datetime.fromisoformat(data["began_at"]), "suites": tuple(data["suites"]),
                "period": period,
            }
        )  # fmt: skip
