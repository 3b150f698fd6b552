"""When the daemon makes audits by itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitor.cron import next_times

__all__ = ["AuditPlan", "next_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """When which targets are audited; see ``monitor.audit_settings.AuditPlanSettings``."""

    name: str
    cron: str
    time_zone: str = "UTC"
    targets: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    keep: int | None = None


def next_runs(plans: tuple[AuditPlan, ...], *, after: datetime, count: int) -> tuple[tuple[datetime, AuditPlan], ...]:
    """Return the next planned audits, the earliest first."""
    found = [(at, p) for p in plans for at in next_times(p.cron, p.time_zone, after=after, count=count)]
    return tuple(sorted(found, key=lambda run: (run[0], run[1].name))[:count])
